"""Conversations: records with messages become one text, with the spans of it that are supervised."""
