"""What stands behind the OpenTelemetry API: the SDK's interfaces, implemented. Only here are its private names used."""
