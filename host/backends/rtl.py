from .base import Backend
class RtlBackend:
    name="rtl"
