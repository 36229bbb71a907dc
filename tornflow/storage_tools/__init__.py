"""What ``tornflow storage`` does with a store that no engine runs on: check, migrate, export, import."""
