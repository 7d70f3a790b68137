"""Settings of those who run the system for others: who may see what, what is watched, what the logs look like."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, model_validator

from conf.sections import Folder, Port, Section


class Access(Section):
    """Who may see what on the dashboard. Without `login`, whoever reaches the page sees everything."""

    login: bool = Field(
        False,
        description="whether people log in by OpenID Connect; the provider is named in Streamlit's `secrets.toml`",
    )
    user_claim: str = Field(
        "email", min_length=1, description="claim of the login that is the `user_id` of runs"
    )
    groups_claim: str = Field("groups", min_length=1, description="claim that lists the groups of a person")
    admins_group: str = Field("admins", min_length=1, description="members of this group see everything")
    session_hours: float = Field(
        12.0,
        gt=0,
        le=720,
        description="hours after which a login must be made anew; so long may groups be old",
    )
    trust_email: bool = Field(
        False,
        description="whether an e-mail counts as verified where the provider says nothing of that; "
        "one that it calls unverified is refused all the same",
    )


class Exporter(Section):
    """The process that shows the pipeline to Prometheus."""

    host: str = Field("127.0.0.1", description="address on which it listens; 0.0.0.0 in a pod")
    port: Port = Field(9464, description="port on which it listens")
    every_s: float = Field(5.0, ge=1, description="least time between two looks at the document store")
    token: SecretStr | None = Field(
        None, description="bearer token that a scrape must carry; unset: none is asked for; never shown"
    )
    token_file: Folder | None = Field(None, description="file that holds the token")
    cert_file: Folder | None = Field(
        None, description="its certificate (PEM), with which it serves HTTPS; unset: HTTP"
    )
    key_file: Folder | None = Field(None, description="the key of that (PEM, not encrypted)")
    max_users: int = Field(
        50, ge=0, description="users with series of their own; the others are one, `other`"
    )
    max_models: int = Field(
        50, ge=0, description="models with series of their own; the others are one, `other`"
    )
    max_nodes: int = Field(
        500, ge=0, description="nodes with series of their own; the others are one, `other`"
    )
    max_runs: int = Field(
        0, ge=0, description="running runs with series of their own; 0: none, since each is a series for ever"
    )
    max_namespaces: int = Field(
        100, ge=0, description="namespaces of pods with series of their own; the others are one, `other`"
    )
    max_pods: int = Field(
        0,
        ge=0,
        description="pods with a power of their own, the largest; 0: none, since each is a series for ever",
    )
    otlp_endpoint: str | None = Field(
        None, description="where the same metrics are sent by OpenTelemetry (OTLP over HTTP); unset: nowhere"
    )
    otlp_every_s: float = Field(15.0, ge=1, description="time between two sendings")

    @model_validator(mode="after")
    def _complete(self) -> Exporter:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("exporter.cert_file and exporter.key_file go together; give both or none")
        return self


class Prometheus(Section):
    """A Prometheus server whose power series of nodes and pods (Kepler, DCGM) become node samples."""

    url: str | None = Field(None, pattern=r"^https?://", description="its address; unset: none is read")
    token: SecretStr | None = Field(None, description="bearer token for it; never shown")
    token_file: Folder | None = Field(None, description="file that holds the token")
    ca_file: Folder | None = Field(
        None, description="certificates (PEM) that its own must come from; unset: those of the system"
    )
    match: str | None = Field(
        None, min_length=1, description='further label matchers (PromQL), such as `cluster="a"`'
    )
    every_s: float = Field(30.0, ge=1, le=3600, description="time between looks for new samples")
    timeout_s: float = Field(30.0, gt=0, description="longest that one query may take")
    node_label: str | None = Field(
        None,
        min_length=1,
        description="label that names the node; unset: `node_name`, `node`, `kubernetes_node`, `Hostname`, "
        "`exported_instance`, or `instance` without its port",
    )
    max_gap_s: float = Field(
        300.0,
        ge=1,
        le=3600,
        description="what a counter rose by is counted where its samples are at most so far apart; a longer time is "
        "a gap",
    )
    lookback_s: float = Field(
        3600.0, ge=0, description="how far back it begins where no note says how far it has come"
    )


class Logs(Section):
    """What the processes say of themselves, on standard error."""

    format: Literal["text", "json"] = Field(
        "text", description="`json`: one object a line, with time, level, run, query and batch as fields"
    )
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="least level that is said"
    )
