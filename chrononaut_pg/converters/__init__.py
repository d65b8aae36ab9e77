"""Converters: the history that another tool has kept becomes ours."""

from chrononaut_pg.converters.converter import HistoryModelDataConverter, Problem

__all__ = ["HistoryModelDataConverter", "Problem"]
