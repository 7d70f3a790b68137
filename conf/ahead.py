"""Settings of what looks ahead: forecasts, budgets, alerts."""

from __future__ import annotations

from pydantic import Field, SecretStr

from conf.sections import Days, Folder, Place, Port, Section


class Forecast(Section):
    """Forecasts inside the stream, and the process that trains their model."""

    enabled: bool = Field(True, description="whether the stream forecasts at all")
    horizons_s: str = Field(
        "60,300,900",
        pattern=r"^\d+(,\d+)*$",
        description="how far ahead each closed window forecasts, in seconds with commas between; a horizon that "
        "is not a multiple of the window is left out",
    )
    long_horizons_s: str = Field(
        "3600,21600,86400",
        pattern=r"^(\d+(,\d+)*)?$",
        description="how far ahead a forecast looks every `long_every_s`; empty: not at all",
    )
    long_every_s: int = Field(900, ge=1, description="time between forecasts of the long horizons")
    dimensions: str = Field(
        "node,run,user,all",
        pattern=r"^(node|run|user|all)(,(node|run|user|all))*$",
        description="whose power is forecast",
    )
    max_series: int = Field(
        2000, ge=1, description="most series that are forecast; those with the newest windows go first"
    )
    history_windows: int = Field(
        240, ge=16, le=10_000, description="windows of a series that the forecaster remembers"
    )
    registry: Place | None = Field(
        None,
        description="folder or `s3://` URI of the models; unset: `models` in the data folder",
    )
    mlflow_uri: str | None = Field(
        None,
        pattern=r"^[^@]*$",
        description="MLflow server that gets a copy of each model that begins to serve; who we are says its own "
        "environment (MLFLOW_TRACKING_USERNAME …); unset: none",
    )
    retrain_every_s: float = Field(
        21_600.0, ge=60, description="time between trainings of a challenger, by a process of its own"
    )
    train_days: Days = Field(14.0, description="how far back a training looks")
    keep_models: int = Field(
        20, ge=1, description="newest models that a training keeps; the one that serves is never deleted"
    )
    retention_days: Days | None = Field(
        30.0, description="how long a forecast is kept after the time that it is about"
    )


class Alerts(Section):
    """Budgets, alerts and their delivery."""

    every_s: float = Field(5.0, ge=0.5, description="time between evaluations of budgets and rules")
    tariff_per_kwh: float | None = Field(
        None, ge=0, description="price of a kWh, for budgets in money; unset: such budgets cannot be added"
    )
    currency: str = Field("EUR", pattern=r"^[A-Z]{3}$", description="currency of the tariff (ISO 4217)")
    webhook_url: SecretStr | None = Field(
        None, description="where alerts are posted as JSON; it may hold a token, so it is never shown"
    )
    webhook_url_file: Folder | None = Field(None, description="file that holds the address")
    webhook_secret: SecretStr | None = Field(
        None, description="key of the HMAC-SHA256 signature of each post; never shown"
    )
    webhook_secret_file: Folder | None = Field(None, description="file that holds the key")
    smtp_host: str | None = Field(None, description="mail server; unset: no e-mail")
    smtp_port: Port = Field(587, description="its port")
    smtp_starttls: bool = Field(
        True, description="whether the connection is encrypted before anything is said"
    )
    smtp_user: str | None = Field(None, description="user at the mail server")
    smtp_password: SecretStr | None = Field(None, description="their password; never shown")
    smtp_password_file: Folder | None = Field(None, description="file that holds the password")
    mail_from: str | None = Field(None, description="sender of the mails")
    mail_to: str | None = Field(None, description="recipients, with commas between")
    command: str | None = Field(
        None, description="program that is run with each alert as JSON on its standard input (no shell)"
    )
    tell_resolved: bool = Field(
        True, description="whether the channels that sent an alert are told when it is resolved"
    )
    timeout_s: float = Field(10.0, gt=0, le=300, description="longest that one delivery may take")
    retention_days: Days | None = Field(90.0, description="how long an alert is kept after it is resolved")
