"""docker-compose.yaml: read, and run as processes without Docker."""
