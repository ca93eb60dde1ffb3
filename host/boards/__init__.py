"""What a board's folder holds beside the Verilog: for tools, for software, for who builds it."""
