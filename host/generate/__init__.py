"""``instinfer generate``: prompts decoded with attention on a drive, and what that cost there.

::

    session, batch_session --prompts--> decode --tokens, steps--> run --+--> record --> report
                                          |                             +--> compare
                                       the drive --what dies and buses did--> timeline
"""
