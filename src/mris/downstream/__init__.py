"""Classifiers on target maps: do synthesized maps keep what grading and the prediction of progression need?"""
