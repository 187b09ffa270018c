"""The HTTP/1.1 server, the requests it refuses, and the bridge to moto."""
