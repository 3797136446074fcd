"""The shared embedding space: encoders, losses, training, export.

What other rooms and users import from here; all else is private to the room:

- ``mris.metric.encoders``: `DualEncoder`
- ``mris.metric.export``: `export_encoder`
- ``mris.metric.losses``: `CrossModalTripletLoss`
- ``mris.metric.outcome``: `Outcome`
- ``mris.metric.settings``: `TrainSettings`, `preset`
- ``mris.metric.train``: `train_encoders`
"""
