"""What a voxel of an MR scan of a knee may hold: the tissues that are told apart, and those that are only drawn."""

from enum import IntEnum


class Tissue(IntEnum):
    """A tissue and its number in tissue volumes; those up to `N_CLASSES` are told apart, the others are the rest."""

    AIR = 0
    FEMUR = 1
    FEMORAL_CARTILAGE = 2
    TIBIA = 3
    TIBIAL_CARTILAGE = 4
    PATELLA = 5
    PATELLAR_CARTILAGE = 6
    MENISCUS = 7
    FIBULA = 8
    FLUID = 9
    FAT = 10
    MUSCLE = 11
    TENDON = 12
    VESSEL = 13
    SKIN = 14


N_CLASSES = 8
"""Classes of a segmentation: the rest (0) and the tissues 1 to 7."""

BONES = (Tissue.FEMUR, Tissue.TIBIA, Tissue.PATELLA, Tissue.FIBULA)
CARTILAGES = (Tissue.FEMORAL_CARTILAGE, Tissue.TIBIAL_CARTILAGE, Tissue.PATELLAR_CARTILAGE)
