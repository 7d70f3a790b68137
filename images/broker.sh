#!/bin/sh
# What the kafka image runs by itself: new storage is formatted, then this process becomes the broker.
set -eu
config=${1:-/opt/kafka/config/server.properties}
/opt/kafka/bin/kafka-storage.sh format --ignore-formatted --cluster-id "${CLUSTER_ID:-am91bGVzdHJlYW0tMDAwMQ}" --config "$config"
exec /opt/kafka/bin/kafka-server-start.sh "$config"
