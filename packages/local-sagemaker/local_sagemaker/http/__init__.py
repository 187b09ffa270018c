"""HTTP/1.1 with browsers and clients: bytes in, bytes out, and what is refused before anybody looks at it."""
