"""Vivado as far as the scripts of boards use it: they run in a Tcl whose commands of Vivado record.

Block designs are a model (`block_design.py`) that refuses what is not there; all else is known by
name only.
"""

from pathlib import Path

from tests.host.boards.block_design import BlockDesign, DesignError
from tests.host.boards.tcl import Tcl

__all__ = ["ScriptError", "Vivado"]

COMMANDS = """
add_files all_clocks create_clock create_project current_fileset current_project generate_target
get_files get_iobanks get_ports get_runs launch_runs make_wrapper open_run report_cdc
report_datasheet report_timing_summary report_utilization save_bd_design set_false_path
set_max_delay update_compile_order update_ip_catalog wait_on_run
write_hw_platform
ipx::check_integrity ipx::create_xgui_files ipx::current_core ipx::get_bus_interfaces
ipx::package_project ipx::save_core ipx::update_checksums
""".split()
"""What the scripts use of Vivado by name (AMD UG835); anything else is an error of Tcl."""


class ScriptError(Exception):
    """A script ended with an error."""


class Vivado:
    """Runs scripts; `calls` are the commands with their arguments, in order.

    A command returns its own name and arguments as one word, so that what it is used in shows
    where it came from: ``set_property top x current_fileset``.

    Parameters
    ----------
    interpreter
        A Tcl: `Tcl` of the tests, or ``tkinter.Tcl()``.
    run : dict of str to str
        Properties of the implementation run, once it has ended.
    hertz : int
        What the processing system's clock is.
    """

    def __init__(self, interpreter=None, *, run=(), hertz=100_000_000):
        self.calls = []
        self.design = None
        self._tcl = interpreter or Tcl()
        self._refused = None
        self._hertz = hertz
        self._run = {"PROGRESS": "100%", "STATUS": "write_bitstream Complete!"}
        self._run |= {"STATS.WNS": "0.1", "STATS.WHS": "0.02"} | dict(run)
        if interpreter:
            self._tcl.eval("namespace eval ipx {}")
        own = [name.removeprefix("_do_") for name in dir(self) if name.startswith("_do_")]
        for name in (*COMMANDS, *own):
            self._tcl.createcommand(name, lambda *arguments, name=name: self._call(name, arguments))

    def _call(self, name, arguments):
        arguments = tuple(map(str, arguments))
        self.calls.append((name, *arguments))
        found = "@".join((name, *arguments))
        try:
            if own := getattr(self, f"_do_{name}", None):
                found = own(*arguments)
        except DesignError as error:
            self._refused = error
            raise
        return found or ""

    def source(self, path, *arguments):
        """Run a script, as ``vivado -source PATH -tclargs ARGUMENTS`` does."""
        self._tcl.setvar("argv", arguments)
        try:
            self._tcl.eval(f"source {{{path}}}")
        except Exception as error:
            if type(error).__name__ not in ("TclError", "DesignError"):
                raise
            raise ScriptError(str(self._refused or error)) from error

    def arguments(self, command):
        """Arguments of every call of a command."""
        return [call[1:] for call in self.calls if call[0] == command]

    def split(self, text):
        """Elements of a Tcl list."""
        return [str(item) for item in self._tcl.splitlist(text)]

    def files(self):
        """Files that were added to the project."""
        return [Path(path) for call in self.arguments("add_files") for path in self.split(call[-1])]

    def _verilog(self):
        return "".join(path.read_text() for path in self.files() if path.suffix == ".v")

    def _options(self, arguments, flags=()):
        """Options by name, and what is left."""
        options, left, at = {}, [], 0
        while at < len(arguments):
            if arguments[at] in flags:
                options[arguments[at]] = ""
            elif arguments[at].startswith("-"):
                at += 1
                options[arguments[at - 1]] = arguments[at]
            else:
                left.append(arguments[at])
            at += 1
        return options, left

    def _named(self, kind, text):
        """Names of objects of a kind that Tcl was given."""
        found, _, name = text.partition(":")
        if found != kind:
            raise DesignError(f"{text!r} is no {kind}")
        return name

    def _do_create_bd_design(self, name):
        self.design = BlockDesign(self._verilog)

    def _do_create_bd_cell(self, *arguments):
        options, (name,) = self._options(arguments)
        kind = options["-type"]
        self.design.create_cell(kind, options["-vlnv" if kind == "ip" else "-reference"], name)

    def _do_create_bd_port(self, *arguments):
        options, (name,) = self._options(arguments)
        bits = int(options.get("-from", 0)) - int(options.get("-to", 0)) + 1
        self.design.create_port(name, options["-dir"], bits)
        return f"pin:{name}"

    def _do_create_bd_intf_port(self, *arguments):
        options, (name,) = self._options(arguments)
        self.design.external[name] = options["-mode"]

    def _do_get_bd_cells(self, name):
        if name not in self.design.cells:
            raise DesignError(f"no cell {name}")
        return f"cell:{name}"

    def _do_get_bd_pins(self, name):
        if "/" not in name:
            raise DesignError(f"{name} is a port")
        self.design.pin(name)
        return f"pin:{name}"

    def _do_get_bd_ports(self, name):
        self.design.pin(name)
        return f"pin:{name}"

    def _do_get_bd_intf_pins(self, name):
        self.design.interface(name)
        return f"interface:{name}"

    _do_get_bd_intf_ports = _do_get_bd_intf_pins

    def _do_connect_bd_net(self, *pins):
        self.design.connect([self._named("pin", pin) for pin in pins])

    def _do_connect_bd_intf_net(self, *pins):
        self.design.connect_buses(*(self._named("interface", pin) for pin in pins))

    def _do_get_bd_addr_spaces(self, name):
        self.design.space(name)
        return f"space:{name}"

    def _do_get_bd_addr_segs(self, *arguments):
        options, (name,) = self._options(arguments, ["-quiet"])
        try:
            self.design.segment(name)
        except DesignError:
            if "-quiet" in options:
                return ""
            raise
        return f"segment:{name}"

    def _do_assign_bd_address(self, *arguments):
        options, (segment,) = self._options(arguments, ["-force"])
        self.design.assign(
            self._named("space", options["-target_address_space"]),
            self._named("segment", segment),
            int(options["-offset"], 0),
            int(options["-range"], 0),
        )

    def _do_exclude_bd_addr_seg(self, *arguments):
        options, (segment,) = self._options(arguments)
        space = self._named("space", options["-target_address_space"])
        self.design.excluded.append((space, self._named("segment", segment)))

    def _do_validate_bd_design(self):
        if wrong := self.design.validate():
            raise DesignError("; ".join(wrong))
        self.design.valid = True

    def _do_set_property(self, *arguments):
        if arguments[-1].startswith("cell:"):
            if arguments[0] != "-dict":
                raise DesignError("parameters of cells are set with -dict here")
            words = self.split(arguments[1])
            names, values = words[::2], words[1::2]
            if len(names) != len(values) or not all(n.startswith("CONFIG.") for n in names):
                raise DesignError(f"not names and values of parameters: {words}")
            parameters = {n.removeprefix("CONFIG."): v for n, v in zip(names, values)}
            self.design.set_parameters(arguments[-1].removeprefix("cell:"), parameters)
        return "@".join(("set_property", *arguments))

    def _do_get_property(self, name, thing):
        if thing.startswith("get_runs@"):
            return self._run[name]
        if name != "CONFIG.FREQ_HZ":
            raise DesignError(f"{name} of {thing} is not known here")
        return str(self._hertz)
