"""Kafka's users and what each may do: `python -m joulestream.cluster.kafka_users`; idempotent, also rotates passwords.

Talks to the brokers with their own certificate (settings kafka.cert_file and key_file), which is that of a super
user, so it needs no password. The passwords are files `<user>-password` in KAFKA_CREDENTIALS.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from kafka.errors import KafkaError

from conf.clients import kafka_options
from conf.sections import Kafka
from conf.settings import load_settings
from joulestream.reaching import need_broker, no_broker, trouble
from schemas import topics
from schemas.errors import PipelineError

FOLDER = "/etc/joulestream/secrets/kafka-credentials"
ADMIN = "admin"  # a super user by the brokers' own settings: makes topics

_READ, _WRITE = ACLOperation.READ, ACLOperation.WRITE
_LOOK = ACLOperation.DESCRIBE_CONFIGS
# Who may do what with which topic. READ and WRITE include DESCRIBE.
RIGHTS: Mapping[str, Mapping[str, Sequence[ACLOperation]]] = {
    # The streaming job, the alerts (which ask a run to stop), the exporter (which looks at the lag), the audit.
    "stream": {
        topics.TRAINING_EVENTS: (_READ, _LOOK),
        topics.NODE_METRICS: (_READ, _LOOK),
        topics.GRID_INTENSITY: (_READ, _LOOK),
        topics.RUN_CONTROL: (_READ, _WRITE, _LOOK),
        topics.DLQ: (_READ, _WRITE, _LOOK),
    },
    # Trackers and node agents.
    "producer": {
        topics.TRAINING_EVENTS: (_WRITE,),
        topics.NODE_METRICS: (_WRITE,),
        topics.GRID_INTENSITY: (_WRITE,),
        topics.RUN_CONTROL: (_READ,),
    },
}
# Spark names the groups of its readers so.
GROUPS: Mapping[str, str] = {"stream": "spark-kafka-"}


def acls() -> list[ACL]:
    """What each user may do, as Kafka writes it."""
    patterns = [
        (user, ResourcePattern(ResourceType.TOPIC, topic), operation)
        for user, rights in RIGHTS.items()
        for topic, operations in rights.items()
        for operation in operations
    ]
    patterns += [
        (user, ResourcePattern(ResourceType.GROUP, prefix, ACLResourcePatternType.PREFIXED), _READ)
        for user, prefix in GROUPS.items()
    ]
    return [
        ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, pattern)
        for user, pattern, operation in patterns
    ]


def passwords_in(folder: Path) -> dict[str, str]:
    """The password of each user. Raises PipelineError."""
    found = {}
    for user in (ADMIN, *RIGHTS):
        file = folder / f"{user}-password"
        try:
            found[user] = file.read_text("utf-8").strip()
        except OSError as error:
            raise PipelineError(
                f"{file} cannot be read ({error.strerror}): is the secret kafka-credentials mounted?"
            ) from None
        if not found[user]:
            raise PipelineError(f"{file} is empty, and should hold the password of {user}")
    return found


def set_users(kafka: Kafka, passwords: Mapping[str, str]) -> None:
    """Give each user its password and rights. Raises RetryableError, PipelineError."""
    need_broker(kafka)
    try:
        admin = KafkaAdminClient(**kafka_options(kafka))
    except (KafkaError, OSError) as error:
        raise no_broker(kafka, error) from error
    try:
        users = [
            UserScramCredentialUpsertion(user, ScramMechanism.SCRAM_SHA_512, password)
            for user, password in passwords.items()
        ]
        failed = {user: why for user, why in admin.alter_user_scram_credentials(users).items() if why}
        refused = admin.create_acls(acls())["failed"]
    except KafkaError as error:
        raise trouble(kafka, error, "could not set the users") from error
    finally:
        admin.close()
    if failed or refused:
        raise PipelineError(f"the broker refused users {failed} and rights {refused}")


def main() -> int:
    """0 when all users are set, 1 where a password or the broker is missing (the Job tries again)."""
    try:
        passwords = passwords_in(Path(os.environ.get("KAFKA_CREDENTIALS", FOLDER)))
        set_users(load_settings().kafka, passwords)
    except PipelineError as error:
        sys.stderr.write(f"kafka users: {error}\n")
        return 1
    sys.stdout.write(f"users {', '.join(passwords)} and {len(acls())} rights are set\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
