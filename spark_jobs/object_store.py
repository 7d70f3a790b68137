"""Checkpoints in an S3-compatible store: what Spark is told of it, from the variables that every client of AWS reads.

`AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` (unset: AWS itself), `AWS_REGION` or `AWS_DEFAULT_REGION`. Credentials are
found as the AWS SDK finds them: keys in the environment, `AWS_WEB_IDENTITY_TOKEN_FILE`, a file of profiles
(`AWS_SHARED_CREDENTIALS_FILE`), the container's or the machine's role. See docs/how-to/spark-submit.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from conf.settings import Settings

SCHEME = "s3a://"
# Of conf/jars.lock: 559 MB, so only where somebody asks for them.
JAR_SET = "s3"
MANAGER = "spark.sql.streaming.checkpointFileManagerClass"
# Puts each file of a checkpoint there as one object. Spark's usual way renames a draft, which a store of objects does
# by copying it: twice as many requests, and a moment in which both are there.
DIRECT = "org.apache.spark.internal.io.cloud.AbortableStreamBasedCheckpointFileManager"
# The first two take keys that Spark finds in the driver's environment and hands to the executors.
_CREDENTIALS = (
    "org.apache.hadoop.fs.s3a.TemporaryAWSCredentialsProvider",
    "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
    "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider",
)
_FALLBACK_REGION = "us-east-1"  # what servers other than AWS's own take where nobody names one
# Executors need these too, where keys come from a file. They hold no secret.
_PASSED_ON = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE")


def is_s3(place: str) -> bool:
    """Whether a folder or URI lies in an S3-compatible store."""
    return place.startswith(SCHEME)


def jars_dir(settings: Settings) -> Path:
    """Folder of the jars with which Spark reads and writes S3: beside those with which it reads Kafka."""
    return settings.spark_jars_dir.with_name(JAR_SET)


def jars_of(settings: Settings) -> list[str]:
    """Those jars, where the checkpoints need them; none where nobody has put them there."""
    if not is_s3(settings.checkpoint_root):
        return []
    return sorted(str(jar) for jar in jars_dir(settings).glob("*.jar"))


def options_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Spark's options for the store that the environment names."""
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    options = {
        "fs.s3a.aws.credentials.provider": ",".join(_CREDENTIALS),
        # A store that is away is said after seconds instead of minutes; whoever supervises the job starts it again.
        "fs.s3a.attempts.maximum": "3",
        "fs.s3a.retry.limit": "3",
    }
    if endpoint:
        options |= {"fs.s3a.endpoint": endpoint, "fs.s3a.path.style.access": "true"}
        region = region or _FALLBACK_REGION
    if region:
        options["fs.s3a.endpoint.region"] = region
    passed = {f"spark.executorEnv.{key}": environment[key] for key in _PASSED_ON if environment.get(key)}
    return {**{f"spark.hadoop.{key}": value for key, value in options.items()}, **passed}
