"""What a stack consists of: its ports, its servers (own or given) and its services."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic_settings import TomlConfigSettingsSource

from conf.settings import CONFIG_FILE, ConfigError, Settings, env_name, load_settings
from joulestream.local import services
from joulestream.local.broker import broker_away, broker_service
from joulestream.local.java import Java
from joulestream.local.ports import HOST, pick
from joulestream.local.process import Service
from joulestream.local.state import StackState
from joulestream.local.store import DocumentServer, store_away, store_service, without_password
from schemas.errors import RetryableError

_ADDRESSES = ("kafka.bootstrap", "mongodb.uri", "mongodb.uri_file")
# Order of `--port-base N`: N, N+1, N+2, N+3, N+4.
USUAL_PORTS = {"dashboard": 8501, "broker": 9092, "controller": 9093, "store": 27017, "exporter": 9464}

# A stack that is up for a few hours a day trains too: whether a training is due is looked at more often.
FIRST_TRAINING_S = 600.0
LOOK_AT_TRAINING_S = 3600.0


@dataclass(frozen=True)
class Wishes:
    """What the caller of `up` asked for; addresses that are None mean servers of our own."""

    data_dir: Path
    demo: bool = True
    dashboard: bool = True
    port_base: int | None = None
    kafka_bootstrap: str | None = None
    mongodb_uri: str | None = None
    exporter: bool = False


@dataclass(frozen=True)
class Chore:
    """A service that does its work and ends, first so long after the start, then again and again (s)."""

    service: Service
    first_s: float
    every_s: float


@dataclass(frozen=True)
class Plan:
    """What will be started, in order: servers first, then what needs them."""

    settings: Settings
    ports: Mapping[str, int]
    server: DocumentServer | None
    servers: tuple[Service, ...]
    services: tuple[Service, ...]
    demo: Service | None
    chores: tuple[Chore, ...]
    url: str | None

    @property
    def own(self) -> tuple[str, ...]:
        return tuple(service.name for service in self.servers)


def given_servers(wishes: Wishes) -> tuple[str | None, str | None]:
    """The Kafka and MongoDB that flags, environment or file name; None where nobody did."""
    flags = {"kafka.bootstrap": wishes.kafka_bootstrap, "mongodb.uri": wishes.mongodb_uri}
    settings = load_settings({"data_dir": wishes.data_dir, **flags})
    named = _named_in_file(wishes.data_dir) | {path for path in _ADDRESSES if env_name(path) in os.environ}
    named |= {path for path, value in flags.items() if value is not None}
    kafka = settings.kafka.bootstrap if "kafka.bootstrap" in named else None
    uri = settings.mongodb.uri.get_secret_value() if named & {"mongodb.uri", "mongodb.uri_file"} else None
    _own_are_plain(settings, kafka, uri)
    return kafka, uri


def _own_are_plain(settings: Settings, kafka: str | None, uri: str | None) -> None:
    """Raise ConfigError where a server of our own would be asked for TLS or a user, which it does not know."""
    protocol, mongodb = settings.kafka.security_protocol, settings.mongodb
    if kafka is None and protocol != "PLAINTEXT":
        raise ConfigError(
            f"kafka.security_protocol is {protocol}, and no kafka.bootstrap is given: the broker that joule up "
            "starts is for this machine only and speaks PLAINTEXT; name yours, or remove the setting"
        )
    if uri is None and (mongodb.username or mongodb.tls or mongodb.ca_file or mongodb.cert_file):
        raise ConfigError(
            "mongodb.username, tls, ca_file or cert_file is given, and no mongodb.uri: the store that joule up "
            "starts is for this machine only and knows neither; name yours, or remove the setting"
        )


def _named_in_file(data_dir: Path) -> set[str]:
    """The `section.key` that the settings file sets, whatever to (`load_settings` has checked it)."""
    file = Path(os.environ.get("JOULE_CONFIG") or data_dir / CONFIG_FILE)
    if not file.is_file():
        return set()
    sections = TomlConfigSettingsSource(Settings, file).toml_data
    return {f"{name}.{key}" for name, keys in sections.items() if isinstance(keys, dict) for key in keys}


def choose_ports(base: int | None, remembered: Mapping[str, int]) -> dict[str, int]:
    """A free port for each: from `base`, else those of the last start, else the usual ones, else the next."""
    chosen: dict[str, int] = {}
    for place, (name, usual) in enumerate(USUAL_PORTS.items()):
        preferred = base + place if base else remembered.get(name, usual)
        chosen[name] = pick(preferred, chosen.values())
    return chosen


def make_plan(
    wishes: Wishes, java: Java, find_server: DocumentServer | None, last: StackState | None
) -> Plan:
    """Decide on everything that `up` starts. `find_server` is None where the store is a given one."""
    kafka, mongodb = given_servers(wishes)
    base = wishes.port_base or load_settings({"data_dir": wishes.data_dir}).local.port_base
    ports = choose_ports(base, last.ports if last else {})
    settings = load_settings(
        {
            "data_dir": wishes.data_dir,
            "kafka.bootstrap": kafka or f"{HOST}:{ports['broker']}",
            "mongodb.uri": mongodb or f"mongodb://{HOST}:{ports['store']}",
            "dashboard.port": ports["dashboard"],
            "exporter.port": ports["exporter"],
            **({"exporter.host": HOST} if wishes.exporter else {}),
        }
    )
    logs = wishes.data_dir / "logs"
    own_store = find_server if mongodb is None else None
    servers = []
    if kafka is None:
        servers.append(_broker(wishes.data_dir, ports, java))
    if own_store is not None:
        log = logs / "store.log"
        servers.append(store_service(wishes.data_dir / "store", ports["store"], own_store, log))
    return Plan(
        settings=settings,
        ports=ports,
        server=own_store,
        servers=tuple(servers),
        services=_services(settings, wishes, java, logs),
        demo=services.demo_service(settings, logs / "demo.log") if wishes.demo else None,
        chores=_chores(settings, java, logs),
        url=f"http://{HOST}:{ports['dashboard']}" if wishes.dashboard else None,
    )


def _broker(data_dir: Path, ports: Mapping[str, int], java: Java) -> Service:
    log = data_dir / "logs" / "broker.log"
    return broker_service(data_dir / "kafka", ports["broker"], ports["controller"], java, log)


def _services(settings: Settings, wishes: Wishes, java: Java, logs: Path) -> tuple[Service, ...]:
    """What always runs, then what is wished for."""
    wanted = [
        services.stream_service(settings, java, logs / "stream.log"),
        services.agent_service(settings, logs / "agent.log"),
        services.alerts_service(settings, logs / "alerts.log"),
    ]
    if wishes.dashboard:
        wanted.append(services.dashboard_service(settings, logs / "dashboard.log"))
    if wishes.exporter:
        wanted.append(services.exporter_service(settings, logs / "exporter.log"))
    return tuple(wanted)


def _chores(settings: Settings, java: Java, logs: Path) -> tuple[Chore, ...]:
    """The repair of the totals, and the training, which itself knows whether it is due."""
    repair_s = settings.local.reconcile_every_s
    chores = [Chore(services.reconcile_service(settings, java, logs / "reconcile.log"), repair_s, repair_s)]
    if settings.forecast.enabled:
        every_s = settings.forecast.retrain_every_s
        retrain = services.retrain_service(settings, java, logs / "retrain.log")
        chores.append(Chore(retrain, min(every_s, FIRST_TRAINING_S), min(every_s, LOOK_AT_TRAINING_S)))
    return tuple(chores)


def check_given(plan: Plan) -> list[str]:
    """One line per given server that answers. Raises RetryableError for one that does not."""
    lines = []
    bootstrap, mongodb = plan.settings.kafka.bootstrap, plan.settings.mongodb
    if "broker" not in plan.own:
        _must_answer(
            f"Kafka at {bootstrap}",
            "--kafka-bootstrap / JOULE_KAFKA_BOOTSTRAP",
            broker_away(plan.settings.kafka),
        )
        lines.append(f"broker     given: {bootstrap}")
    if "store" not in plan.own:
        shown = without_password(mongodb.uri.get_secret_value())
        _must_answer(f"MongoDB at {shown}", "--mongodb-uri / JOULE_MONGODB_URI", store_away(mongodb, 5))
        lines.append(f"store      given: {shown}")
    return lines


def _must_answer(what: str, where: str, problem: str | None) -> None:
    if problem:
        raise RetryableError(f"{what} does not answer (waited for {problem}): start it, or correct {where}")
