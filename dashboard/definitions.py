"""What each figure on the pages means: the hover help and the Methodology page are this one table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """One figure. `formula` uses the names of the documents' fields; plain text, never markup."""

    name: str
    unit: str
    meaning: str
    formula: str

    @property
    def help(self) -> str:
        """The text that is one hover away."""
        return f"{self.meaning} {self.formula}"


DEFINITIONS: dict[str, Definition] = {
    "energy": Definition(
        "Energy",
        "kWh",
        "Electric energy at the devices (CPU, GPU, memory), never multiplied by PUE.",
        "Sum of the energy of all distinct accepted events.",
    ),
    "co2e": Definition(
        "Emissions",
        "kg CO₂e",
        "Operational emissions, location-based, with the average intensity of the grid in the run's region.",
        "Sum over events of energy × the intensity of that event; values that a client sends stand as sent.",
    ),
    "node_co2e": Definition(
        "Emissions of a node",
        "kg CO₂e",
        "Operational emissions, location-based, of all that the node used; not known where it names no region.",
        "Energy of the node × the average intensity of its region; never multiplied by PUE.",
    ),
    "intensity": Definition(
        "Carbon intensity",
        "g CO₂e/kWh",
        "Average carbon intensity of electricity in the run's region, with source and year.",
        "As given with the event, else the country's, else the world average; the source says which.",
    ),
    "power_now": Definition(
        "Power now",
        "W",
        "Power of all active runs together.",
        "Sum over active runs of the mean power in the newest window; a dash if no window is known.",
    ),
    "active": Definition(
        "Active runs",
        "runs",
        "Runs that have not finished and that sent an event lately.",
        "Status running, and the newest event is younger than the setting dashboard.stale_after_s.",
    ),
    "stale": Definition(
        "Stale",
        "status",
        "A run that has not finished, and is silent.",
        "Status running, and the newest event is older than the setting dashboard.stale_after_s.",
    ),
    "freshness": Definition(
        "Newest event (freshness)",
        "s",
        "Age of the newest event of any run that has arrived in the store.",
        "This page's clock minus the largest event time of all runs.",
    ),
    "pipeline": Definition(
        "Pipeline",
        "state",
        "Whether the stream runs and has read everything.",
        "Up to date: every query shows signs of life and its last batch left no lag.",
    ),
    "conflict": Definition(
        "Conflicts",
        "messages",
        "Duplicates whose content differs from the accepted event; the first one stands.",
        "Counted besides duplicates.",
    ),
    "duration": Definition(
        "Duration",
        "s",
        "From the start of the first interval to the end of the run, gaps included.",
        "End of the run, or its last event while it runs, minus the start of its first interval.",
    ),
    "mean_power": Definition(
        "Mean power",
        "W",
        "Energy over the time that measurements cover.",
        "Energy ÷ covered time, of all ranks together; gaps are in neither.",
    ),
    "peak_power": Definition(
        "Peak power",
        "W",
        "The largest mean power over one event's interval.",
        "Largest energy ÷ interval of any event, of one rank; shorter peaks are not seen.",
    ),
    "gap": Definition(
        "Gaps",
        "s",
        "Time of the run that no measurement covers.",
        "Duration minus covered time; its energy is not known and is not guessed.",
    ),
    "co2e_per_point": Definition(
        "CO₂e per accuracy point",
        "kg CO₂e per percentage point",
        "What one percentage point of accuracy cost.",
        "Emissions ÷ best accuracy in percent. Up to 1 is read as a fraction, above 100 as not known.",
    ),
    "best_loss": Definition("Best loss", "as logged", "The smallest loss that the run logged.", "Minimum."),
    "best_accuracy": Definition(
        "Best accuracy", "as logged", "The largest accuracy that the run logged.", "Maximum."
    ),
    "measurement": Definition(
        "Measured or estimated",
        "kind",
        "Whether the energy comes from a meter, from a model of the device, or from both.",
        "As the sender says; estimated spans are drawn in orange, dotted beside measured ones.",
    ),
    "attributed": Definition(
        "Attributed",
        "kWh",
        "Energy of a node that is charged to runs and pods.",
        "Sum over runs and pods of their share of each device's energy in the window.",
    ),
    "idle": Definition(
        "Idle",
        "kWh",
        "Energy of the time in which devices were not busy; it is charged to no run.",
        "Per device, energy × (1 − utilisation); nothing where the utilisation is not known.",
    ),
    "unattributed": Definition(
        "Unattributed",
        "kWh",
        "Energy of work on the node that is no known run.",
        "Energy of the node minus attributed minus idle.",
    ),
    "pods": Definition(
        "Pods",
        "kWh",
        "Energy of nodes that is charged to pods, by namespace and pod; a pod that names its run is in the run.",
        "Sum over windows of the pod's share of each device's energy, as Kepler or DCGM report it.",
    ),
    "consumed": Definition(
        "Consumed",
        "messages",
        "Messages that the stream read and settled.",
        "Accepted + rejected + duplicates, per partition, to the message.",
    ),
    "rejected": Definition(
        "Rejected",
        "messages",
        "Messages that break the contract; kept with their bytes and the reason.",
        "Counted once, also if a batch runs again.",
    ),
    "duplicate": Definition(
        "Duplicates",
        "messages",
        "Messages whose identity had been accepted before; they add nothing.",
        "Counted per message.",
    ),
    "late": Definition(
        "Late",
        "messages",
        "Accepted events older than the watermark. They are in the ledger, and in the totals.",
        "End of the event's window at or before the watermark of the batch.",
    ),
    "lag": Definition(
        "Lag",
        "messages",
        "Messages in the topic that the query has not read yet.",
        "Newest offset minus next offset, over all partitions, at the end of the batch.",
    ),
    "watermark": Definition(
        "Watermark",
        "time",
        "Windows that end before it are final; later ones can still grow.",
        "Largest event time minus the setting stream.watermark_s.",
    ),
    "forecast": Definition(
        "Forecast",
        "W",
        "Mean power of the window that ends one horizon after the newest closed window.",
        "Weighted sum of batch model, speed model, last value and the value a day before; see the weights.",
    ),
    "interval": Definition(
        "Interval",
        "W",
        "Where the actual lies in 80 (or 90) of 100 cases, if the past errors of this series are a guide.",
        "p10 to p90 (p05 to p95): each end is stretched until it holds as often as it says (adaptive conformal).",
    ),
    "forecast_energy": Definition(
        "Energy ahead",
        "kWh",
        "Energy from the newest closed window to the horizon, with its 80 % interval.",
        "Sum over the windows of the power between the horizons; its interval is an upper bound of the width.",
    ),
    "served_error": Definition(
        "Served error",
        "W",
        "Mean absolute error of the forecasts as they were stored before the actual was known.",
        "Mean of |point − actual| over the stored forecasts that have their actual.",
    ),
    "strong_naive": Definition(
        "Strong naive",
        "W",
        "Error of the better of two forecasts that need no model: the last value, and the value a day before.",
        "The smaller mean |naive − actual| over the same forecasts; without a day before, the last value.",
    ),
    "skill": Definition(
        "Error ÷ naive",
        "ratio",
        "Below 1 the forecasts are worth more than strong naive; above 1, less.",
        "Served error ÷ error of strong naive, over the same forecasts.",
    ),
    "coverage": Definition(
        "Coverage",
        "%",
        "How often the actual lay in the interval; it should be 80 % (90 %).",
        "Actuals inside their interval ÷ actuals with an interval, over the stored forecasts.",
    ),
    "weights": Definition(
        "Weights",
        "%",
        "How much each layer contributes to the forecast.",
        "A high power of the inverse of each layer's discounted absolute error; a drift alarm starts it anew.",
    ),
    "completion": Definition(
        "At completion",
        "kWh, kg, time",
        "What a run will have used when it is finished, and when that is, with an 80 % interval.",
        "Used so far + what is left × the rate of its own epochs, the first one apart, and of similar runs.",
    ),
    "completion_error": Definition(
        "Error at completion",
        "%",
        "How far the forecasts of the run's energy were off, on average over its epochs.",
        "Mean of |forecast − actual| ÷ actual, over the forecasts at the end of each epoch.",
    ),
    "budget_spent": Definition(
        "Spent",
        "kWh, kg or money",
        "What a budget's subject has used since its period began; money is energy × the tariff of the settings.",
        "Sum of the stored energy or emissions of the subject in the period.",
    ),
    "budget_forecast": Definition(
        "Expected",
        "kWh, kg or money",
        "What will be spent when the run is finished or the period is over, with an 80 % interval.",
        "Spent + forecasts of the active runs or of the power + the mean power so far over the rest of the period.",
    ),
    "budget_probability": Definition(
        "Probability of breaking",
        "%",
        "How likely the limit is reached by the end; 100 % once it is. At risk: 50 % or more.",
        "P(end ≥ limit | end ≥ spent), of a split normal distribution through p10, point and p90.",
    ),
    "budget_stage": Definition(
        "Stage",
        "% of the limit",
        "The highest of 50, 80, 90 and 100 % that is reached; each raises one alert per period.",
        "Once of what is spent, once of the forecast's point.",
    ),
    "alert_state": Definition(
        "Open alerts",
        "alerts",
        "Alerts whose cause still holds; a resolved one is over.",
        "Raised once per rule, subject, stage and period, resolved when it no longer holds.",
    ),
    "deliveries": Definition(
        "Deliveries",
        "state",
        "Whether each channel has been told: pending (waits for its next try), sent or failed (given up). "
        "Of an alert that was sent it is about its resolution, or that it opened again, where it says so.",
        "Written by the process of alerts, which delivers from the stored alerts.",
    ),
}


def help_of(key: str) -> str:
    """Hover help of a figure."""
    return DEFINITIONS[key].help
