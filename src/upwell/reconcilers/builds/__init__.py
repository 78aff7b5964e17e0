"""BuildConfigs and Builds: starts builds, runs each once, records its result."""
