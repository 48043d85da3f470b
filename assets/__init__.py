"""What an analyst sees in the Dagster UI: thin definitions, one module per group. No logic lives here."""
