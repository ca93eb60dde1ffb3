"""ATTEND and STEP of the fake drive, with the twin's arithmetic."""

import numpy as np

from cosim.environment import HOST_BASE
from cosim.reference import PARTIAL_HEADER, merge_partials, twin_attend_sparsely, twin_partial
from rtl.commands import JOB, JOB_STATUS, SQE_VIEWS, AttendMode, Opcode, Status
from tests.host.fake_drive.commands import FORMATS, Refused


class Attends:
    """Mixin of `fake_drive.lane.FakeLane`. A sparse attend reads all pages, as a dense one does."""

    def _attend_command(self):
        view = SQE_VIEWS["attend"].unpack(self.sqe)
        step = self.fields["opcode"] == Opcode.STEP
        if view["bytes"] % 8 or view["bytes"] > self.config.max_attend:
            raise Refused(Status.INVALID_FIELD)
        known = {
            AttendMode.DENSE: True,
            AttendMode.SPARF: self.config.sparse_tokens > 0 and not view["partials"],
            AttendMode.BOUNDS: self.config.bounds and not view["partials"],
        }
        if not known.get(view["mode"], False):
            raise Refused(Status.UNSUPPORTED_MODE)
        if not view["jobs"] or not view["bytes"]:
            raise Refused(Status.ZERO_LENGTH)
        self._window(self.fields["result"], 8)
        data = self._fetch(view["bytes"])
        exp = self.fields["scale_exp"]
        exp -= 64 * (exp >= 32)
        scale = self.fields["scale_mant"] * 2.0 ** (exp - 26) / np.log2(np.e)
        failures = []
        for index in range(view["jobs"]):
            job = JOB.unpack(data[index * JOB.size :])
            status, flags, passes = Status.SUCCESS, 0, 0
            try:
                flags, passes = yield from self._job(job, data, step, scale, view)
            except Refused as refusal:
                status = refusal.args[0]
                failures.append((index, status))
            self.result |= flags
            self._result(
                job["result_offset"],
                JOB_STATUS.pack(status=status, flags=flags, passes=passes, written=1),
            )
        self.result |= len(failures) << 16
        if failures:
            self.index, status = failures[0]
            raise Refused(status)

    def _result(self, offset, data):
        """Writes results; their place was checked."""
        at = self.fields["result"] + offset - HOST_BASE
        self.host[at : at + len(data)] = np.frombuffer(data, np.uint8)
        self.counters["bytes_link_out"] += len(data)

    def _job(self, job, data, step, scale, view):
        wants_partials, sparse = view["partials"], view["mode"] != AttendMode.DENSE
        bounds = view["mode"] == AttendMode.BOUNDS
        entry = self._sequence(job["sequence"], job["layer"])
        heads, g, d = entry["kv_heads"], job["queries"], entry["head_dim"]
        if not 1 <= g <= self.config.max_queries_per_kv:
            raise Refused(Status.TOO_MANY_QUERY_HEADS)
        q_dtype, kv_dtype = FORMATS[job["q_format"]].dtype, FORMATS[entry["format"]].dtype
        q = np.frombuffer(data, q_dtype, heads * g * d, job["q_offset"]).reshape(heads, g, d)
        tokens = self._head(entry, job["layer"], 0)["tokens"] + step
        size = self.config.pass_tokens
        passes = -(-tokens // size)
        words = passes * g * (d + 2) if wants_partials else g * d // 4
        offset = job["result_offset"] + JOB_STATUS.size
        self._window(self.fields["result"] + offset, 8 * heads * words)
        if not tokens:
            raise Refused(Status.EMPTY_CONTEXT)
        if sparse:
            self._check_selection(entry, job, tokens, bounds)
        if step:
            kv = np.frombuffer(data, kv_dtype, heads * 2 * d, job["kv_offset"]).reshape(
                heads, 2, 1, d
            )
        flags = 0
        for head in range(heads):
            units = self._head(entry, job["layer"], head)["column_pages"]
            bounded = units * entry["unit_groups"] * entry["group_tokens"]  # if they are of bounds
            if step:
                yield from self._append(entry, job["layer"], head, kv[head], defer=True)
            k, v = self._gather(entry, job["layer"], head)
            self._check_exponents(entry, job["layer"], head, k)
            if sparse:
                selection = {name: job[name] for name in ("channels", "kept", "sinks", "window")}
                if bounds:
                    selection["channels"], selection["bounded"] = None, bounded
                merged = twin_attend_sparsely(q[head], k, v, scale, **selection, pass_tokens=size)
            else:
                cuts = [slice(at, at + size) for at in range(0, tokens, size)]
                partials = [twin_partial(q[head], k[cut], v[cut], scale) for cut in cuts]
                merged = merge_partials(partials, dtype=q_dtype)
            flags |= bool(merged.saturated) | bool(merged.nonfinite) << 1
            result = (
                b"".join(map(partial_bytes, partials)) if wants_partials else merged.out.tobytes()
            )
            self._result(offset + 8 * head * words, result)
        self.counters["jobs"] += heads
        return flags, passes

    def _check_selection(self, entry, job, tokens, bounds):
        possible = bounds or 1 <= job["channels"] <= entry["head_dim"]
        if not possible or not job["kept"]:
            raise Refused(Status.INVALID_SELECTION)
        if not entry["unit_groups"] or entry["bounds"] != bounds:
            raise Refused(Status.NO_INDEX)
        if tokens > self.config.sparse_tokens:
            raise Refused(Status.SELECTION_EXCEEDED)

    def _check_exponents(self, entry, layer, head, k):
        """What the tables say of the pass in progress must be so."""
        size = self.config.pass_tokens
        rest = k[len(k) // size * size :].view(np.uint16).astype(int)
        format = FORMATS[entry["format"]]
        field = rest >> format.fraction_bits & format.top_field
        expected = int(np.maximum(field, 1).max()) - 1 if len(rest) else 0
        assert self._head(entry, layer, head)["k_exp"] == expected


def partial_bytes(partial):
    """A `Partial` as the drive writes it."""
    result = b""
    for m, l, o, v_exp, poisoned in zip(
        partial.m, partial.l, partial.o, partial.v_exp, partial.poisoned, strict=True
    ):
        header = {"m": int(m), "v_exp": int(v_exp), "poisoned": int(poisoned)}
        words = [PARTIAL_HEADER.const(header).as_bits(), int(l), *(int(x) % 2**64 for x in o)]
        result += np.array(words, "<u8").tobytes()
    return result
