"""What a provider of each capability must do: abstract adapters, frozen DTOs, typed errors. Nothing here imports Django."""
