"""A Django project of two models, recorded by django-pghistory.

It runs in the peer's own virtual environment and imports nothing of this project.
"""
