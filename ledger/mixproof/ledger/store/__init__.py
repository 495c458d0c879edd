"""The content-addressed store: its outputs, the attempts that write them, and their receipts."""

from mixproof.ledger.files import publish, publish_bytes

from .attempts import ATTEMPTS, Attempt
from .receipt import RECEIPT, Receipt
from .store import Store

__all__ = ["ATTEMPTS", "RECEIPT", "Attempt", "Receipt", "Store", "publish", "publish_bytes"]
