"""Plugins that come with xqute."""
