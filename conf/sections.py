"""The settings themselves, by section: default, limits and meaning of each."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

Port = Annotated[int, Field(ge=1, le=65535)]
Days = Annotated[float, Field(gt=0)]


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _without_login(place: str) -> str:
    """A place that logs may name. Raises ValueError, which does not repeat it."""
    login, at, _ = place.partition("://")[2].partition("/")[0].rpartition("@")
    if at and ":" in login:
        raise ValueError(
            "holds a user and a password; give keys by AWS_SHARED_CREDENTIALS_FILE or by the environment"
        )
    return place


# A folder or URI that holds no password.
Place = Annotated[str, AfterValidator(_without_login)]
# `~` is the home folder; absolute, so that a child process in another folder means the same one.
Folder = Annotated[Path, AfterValidator(_absolute)]


class Section(BaseModel):
    """One section; a key that it does not have is refused.

    A secret `x` can be given as `x_file`, a file that holds it (as Docker and Kubernetes mount secrets); where
    both are given, the file's text is taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        read = {
            key: _secret_in(path, f"{cls.__name__.lower()}.{key}_file")
            for key, path in ((key, values.get(f"{key}_file")) for key in cls.secrets())
            if path
        }
        return {**values, **read}

    @classmethod
    def secrets(cls) -> tuple[str, ...]:
        """Names of the settings that can also be given by a file."""
        return tuple(key for key in cls.model_fields if f"{key}_file" in cls.model_fields)


def _secret_in(path: Any, setting: str) -> str:
    """The secret that a file holds, without the line's end. Raises ValueError, which names setting and file."""
    try:
        text = Path(path).expanduser().read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise ValueError(
            f"{setting}: {path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}"
        ) from None
    if not text:
        raise ValueError(f"{setting}: {path} is empty, and should hold a secret")
    return text


class Kafka(Section):
    """Where the events flow."""

    bootstrap: str = Field(
        "127.0.0.1:9092",
        pattern=r"^\S+:\d+(,\S+:\d+)*$",
        description="brokers, as `host:port[,host:port…]`",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="as in Kafka; the SASL ones need `username` and `password`"
    )
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="how the password is proved"
    )
    username: str | None = Field(None, min_length=1, description="user at the broker")
    password: SecretStr | None = Field(None, description="their password; never shown")
    password_file: Folder | None = Field(None, description="file that holds the password")
    ca_file: Folder | None = Field(
        None, description="certificates (PEM) that the broker's must come from; unset: those of the system"
    )
    cert_file: Folder | None = Field(
        None, description="our own certificate (PEM), where the broker asks for one (mTLS)"
    )
    key_file: Folder | None = Field(None, description="its key (PEM, PKCS #8, not encrypted)")
    partitions: int = Field(3, ge=1, le=1000, description="partitions of a topic that is created")
    replication_factor: int = Field(1, ge=1, description="replicas of a topic that is created")
    retention_days: Days = Field(7.0, description="how long a topic that is created keeps its messages")

    @model_validator(mode="after")
    def _complete(self) -> Kafka:
        if self.security_protocol.startswith("SASL") and not (self.username and self.password):
            raise ValueError(
                f"kafka.security_protocol is {self.security_protocol}, which needs kafka.username and "
                "kafka.password (or kafka.password_file)"
            )
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("kafka.cert_file and kafka.key_file go together; give both or none")
        if not self.tls and (self.ca_file or self.cert_file):
            raise ValueError(
                f"kafka.security_protocol is {self.security_protocol}, which uses no certificate; set it to SSL or "
                "SASL_SSL, or remove kafka.ca_file, cert_file and key_file"
            )
        return self

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.security_protocol.endswith("SSL")


class MongoDB(Section):
    """Where the documents live. MongoDB >= 6, or a server that speaks its wire protocol."""

    uri: SecretStr = Field(
        SecretStr("mongodb://127.0.0.1:27017"),
        description="connection string, with the password if there is one; never shown",
    )
    uri_file: Folder | None = Field(None, description="file that holds the connection string")
    username: str | None = Field(
        None, min_length=1, description="user of the store; unset: the connection string's"
    )
    password: SecretStr | None = Field(None, description="their password; never shown")
    password_file: Folder | None = Field(None, description="file that holds the password")
    auth_source: str = Field("admin", min_length=1, description="database in which that user is known")
    tls: bool | None = Field(None, description="whether the connection is encrypted; unset: as the URI says")
    ca_file: Folder | None = Field(
        None, description="certificates (PEM) that the server's must come from; unset: those of the system"
    )
    cert_file: Folder | None = Field(
        None, description="our own certificate and key in one file (PEM), where the server asks for one"
    )
    database: str = Field(
        "energy_emissions", pattern=r"^[A-Za-z0-9_-]{1,38}$", description="name of the database"
    )
    timeout_s: float = Field(5.0, gt=0, description="after this a server that does not answer is away")

    @model_validator(mode="after")
    def _complete(self) -> MongoDB:
        if (self.username is None) != (self.password is None):
            raise ValueError("mongodb.username and mongodb.password (or password_file) go together")
        if self.tls is False and (self.ca_file or self.cert_file):
            raise ValueError("mongodb.tls is false, and mongodb.ca_file or cert_file is given; remove one")
        return self


class Stream(Section):
    """The streaming job."""

    window_s: int = Field(60, ge=1, le=86_400, description="length of the event-time windows")
    watermark_s: int = Field(
        600, ge=0, le=30 * 86_400, description="how late an event may be and still join its window at once"
    )
    trigger_s: float = Field(
        0.0,
        ge=0,
        description="time between batches; 0 is as soon as possible, of node samples every 2 seconds",
    )
    max_offsets_per_trigger: int = Field(20_000, ge=1, description="most messages in one batch")
    checkpoint_dir: Place | None = Field(
        None, description="folder or URI of the checkpoints; unset: `checkpoints` in the data folder"
    )
    shuffle_partitions: int = Field(
        2, ge=1, description="Spark's shuffle partitions; frozen in a checkpoint once it is made"
    )
    jars_dir: Folder | None = Field(
        None, description="folder of the pinned jars; unset: `jars/spark` in the user's cache folder"
    )
    master: str = Field(
        "local[*]",
        description="Spark master, unless `spark-submit` gives one; `local[*]` has a thread per core, and at "
        "least one per partition of a topic and one more",
    )
    driver_memory: str = Field("1g", pattern=r"^\d+[kmgKMG]$", description="heap of the Spark driver")
    lease_s: float = Field(20.0, ge=5, description="a process silent for so long has lost its query")
    auth_secret: SecretStr | None = Field(
        None,
        description="secret that Spark's master, workers and driver share on a cluster of their own; with it they "
        "encrypt what they say to one another; never shown",
    )
    auth_secret_file: Folder | None = Field(None, description="file that holds the secret")
    ledger_retention_days: Days | None = Field(
        None, description="how long the ledgers keep an event; unset: for ever; never below the topic's"
    )
    windows_retention_days: Days | None = Field(
        None, description="how long windows are kept after their end; unset: for ever"
    )
    rejected_retention_days: Days | None = Field(90.0, description="how long rejected messages are kept")
    progress_retention_days: Days | None = Field(7.0, description="how long the batches' records are kept")


class Node(Section):
    """The node agent of this machine."""

    node_id: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9._:@/+-]{1,200}$",
        description="name of this machine in events; unset: its host name",
    )
    interval_s: float = Field(1.0, ge=0.1, le=3600, description="time between samples")
    region_iso: str | None = Field(
        None, description="where this machine draws its electricity (ISO 3166 alpha-2 or alpha-3)"
    )


class Tracker(Section):
    """The training-loop tracker."""

    interval_s: float = Field(5.0, ge=0.1, le=3600, description="time between events")
    sample_s: float = Field(1.0, ge=0.05, le=60, description="time between readings of the meters")
    spool_dir: Folder | None = Field(
        None, description="where events wait for the broker; unset: `spool` in the data folder"
    )
    spool_max_mib: float = Field(64.0, gt=0, description="most that may wait there, in MiB")
    registry_dir: Folder | None = Field(
        None, description="where trackers of this machine are known; unset: `registry` in the data folder"
    )
    meters: str = Field("auto", description="`auto`, or names with commas between, such as `rapl,nvml`")
    region_iso: str | None = Field(None, description="as `node.region_iso`, which it goes before")


class Dashboard(Section):
    """The Streamlit dashboard."""

    port: Port = Field(8501, description="port on which it listens")
    url: str | None = Field(
        None, description="address under which people reach it; unset: this machine and the port"
    )
    refresh_s: float = Field(2.0, ge=0.5, description="time between refreshes of the live parts")
    stale_after_s: float = Field(
        120.0, gt=0, description="a running run without an event for so long is called stale"
    )


class Local(Section):
    """The stack that `joule up` starts on one machine."""

    port_base: Port | None = Field(
        None, description="first of its ports; unset: those of the last start, else the usual ones"
    )
    reconcile_every_s: float = Field(3600.0, ge=60, description="time between repairs of the totals")
