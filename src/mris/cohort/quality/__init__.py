"""Are target maps what their cohort leads one to expect?"""
