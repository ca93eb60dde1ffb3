"""An unchanged Transformers model on the drive: its attention, and the cache that is the drive.

::

    attach --> cache --a layer each--> layer --q, k, v--> KvDrive
                                         +-- padding: where each row of a batch begins
"""

from .attach import NAME, attach

__all__ = ["NAME", "attach"]
