"""The other AWS services as the server itself uses them: moto in this process, and what moto lacks."""
