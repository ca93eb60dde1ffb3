"""Commands of sparse jobs as they are, right or wrong, to a drive of gateware."""

import numpy as np

from rtl.commands import JOB, JOB_STATUS, AttendMode, Opcode

NO_SELECTION = {"channels": 4, "kept": 10}


def submit_jobs(drive, jobs, opcode=Opcode.ATTEND, **command):
    """A command of jobs as they are, a dict each; its completion, and status and results of each.

    ``q``, and ``kv`` of a step, are arrays; a job has one KV head of 64.
    """
    table, rest = b"", b""
    size = JOB_STATUS.size + 4 * 128
    for number, job in enumerate(jobs):
        q = job["q"].tobytes()
        fields = {"queries": len(job["q"]), **NO_SELECTION, **job}
        kv = fields.pop("kv", np.zeros((2, 64), np.float16)).tobytes()
        del fields["q"]
        at = JOB.size * len(jobs) + len(rest)
        rest += q + (kv if opcode == Opcode.STEP else b"")
        offsets = {"q_offset": at, "kv_offset": at + len(q), "result_offset": size * number}
        table += JOB.pack(**{**offsets, **fields})
    data = table + rest
    submitted = drive.backend.driver.submit(
        opcode,
        data=data,
        results=size * len(jobs),
        **{
            "jobs": len(jobs),
            "bytes": len(data),
            "mode": AttendMode.SPARF,
            "scale_mant": 1 << 25,
            **command,
        },
    )
    completion = drive.backend.driver.wait(submitted)
    found = []
    for number in range(len(jobs)):
        raw = submitted.results[size * number : size * (number + 1)]
        found.append((JOB_STATUS.unpack(raw)["status"], raw[JOB_STATUS.size :]))
    return completion, found
