"""Whether the manifests do on a real cluster what they say: `joule k8s check`."""
