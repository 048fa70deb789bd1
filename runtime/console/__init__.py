"""What all commands share: how they speak, their options, exit codes and bars."""
