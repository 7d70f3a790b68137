"""The meters: tracker, node agent, meters behind one port, Kafka publisher with its spool."""
