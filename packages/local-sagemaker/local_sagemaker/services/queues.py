"""Make moto's SQS fast under many events, and let it lose none.

To look up one setting, moto 5 computes all attributes of a queue, which counts its messages three times.
It does so for each message that is sent or received. With 1,500 messages in a queue a ReceiveMessage
takes 0.7 s of CPU instead of 16 ms. Here messages are counted only when a client asks for their number.

moto also deletes and receives messages without the lock that its senders hold. Of two threads, one can
restore what the other deleted, drop what was sent meanwhile, or receive the same message. Here both hold
the lock.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from functools import cache, wraps
from typing import Any


@cache
def quicken(queues: Any) -> None:
    """Patch moto's SQS, see the module."""
    backend, queue = queues.SQSBackend, queues.Queue
    send, count_all = backend.send_message, queue.attributes.fget
    receive, delete = backend.receive_message, queue.delete_message
    sending = threading.local()

    def is_message_valid(self: Any, queue_name: str, message: Any) -> bool:
        keeps_seconds = self.get_queue(queue_name).message_retention_period
        return bool(keeps_seconds + message.sent_timestamp / 1000 > queues.unix_time())

    @wraps(send)
    def send_message(*args: Any, **kwargs: Any) -> Any:
        sending.is_on = True
        try:
            return send(*args, **kwargs)
        finally:
            sending.is_on = False

    def attributes(self: Any) -> dict[str, Any]:
        # Sending to a standard queue looks up only a setting that FIFO queues have.
        is_counted = self.fifo_queue or not getattr(sending, "is_on", False)
        return count_all(self) if is_counted else {}

    @wraps(receive)
    def receive_message(self: Any, queue_name: str, *args: Any, **kwargs: Any) -> Any:
        asked = self.get_queue(queue_name)
        # A message of a FIFO queue can be held back by one that is still to be deleted: do not wait with the
        # lock.
        with nullcontext() if asked.fifo_queue else asked._messages_lock:  # noqa: SLF001
            return receive(self, queue_name, *args, **kwargs)

    @wraps(delete)
    def delete_message(self: Any, receipt_handle: str) -> None:
        with self._messages_lock:
            delete(self, receipt_handle)

    backend.is_message_valid_based_on_retention_period = is_message_valid
    backend.send_message = send_message
    backend.receive_message = receive_message
    queue.attributes = property(attributes)
    queue.delete_message = delete_message
