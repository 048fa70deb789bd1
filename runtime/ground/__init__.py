"""What knows nothing of slides: errors, whole files, locks, strict JSON, versions."""
