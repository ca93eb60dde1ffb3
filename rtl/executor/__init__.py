"""What a command does, one unit for each kind, and who may use what when."""
