"""What the tests of the laboratory's commands share: small people and one thread."""

from training_fixtures import annotated_photos, one_torch_thread, people

__all__ = ["annotated_photos", "one_torch_thread", "people"]
