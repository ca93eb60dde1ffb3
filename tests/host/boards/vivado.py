"""A Tcl interpreter that knows Vivado's commands by name only: it records how they are called."""

import tkinter

__all__ = ["Vivado"]

COMMANDS = """
add_files create_clock create_project current_fileset current_project error get_iobanks get_ports
get_runs launch_runs open_run report_cdc report_timing_summary report_utilization set_false_path
set_property update_compile_order update_ip_catalog wait_on_run
ipx::check_integrity ipx::create_xgui_files ipx::current_core ipx::get_bus_interfaces
ipx::package_project ipx::save_core ipx::update_checksums
""".split()
"""What the scripts use of Vivado (AMD UG835); anything else is an error of the interpreter."""


class Vivado:
    """Runs scripts; `calls` are the commands with their arguments, in order.

    A command returns its own name and arguments as one word, so that what it is used in shows
    where it came from: ``set_property top x current_fileset``.
    """

    def __init__(self):
        self.calls = []
        self._tcl = tkinter.Tcl()
        self._tcl.eval("namespace eval ipx {}")
        for name in COMMANDS:
            self._tcl.createcommand(name, lambda *arguments, name=name: self._call(name, arguments))

    def _call(self, name, arguments):
        self.calls.append((name, *map(str, arguments)))
        if name == "error":
            raise RuntimeError(" ".join(arguments))
        return "@".join((name, *map(str, arguments)))

    def source(self, path, *arguments):
        """Run a script, as ``vivado -source PATH -tclargs ARGUMENTS`` does."""
        self._tcl.setvar("argv", arguments)
        self._tcl.eval(f"source {{{path}}}")

    def arguments(self, command):
        """Arguments of every call of a command."""
        return [call[1:] for call in self.calls if call[0] == command]

    def split(self, text):
        """Elements of a Tcl list."""
        return [str(item) for item in self._tcl.splitlist(text)]
