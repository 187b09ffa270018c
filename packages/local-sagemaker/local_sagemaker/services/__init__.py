"""The other AWS services: moto in this process as the server uses it, and what moto lacks."""
