"""What runs on a cluster: entry points of the containers, submission to a Spark master, the package for it."""
