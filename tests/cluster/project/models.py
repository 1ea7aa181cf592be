"""A little of everything that the ORM can write."""

from __future__ import annotations

from django.db import models


class Tag(models.Model):
    name = models.CharField(max_length=40, unique=True)

    def __str__(self) -> str:
        return self.name


class Account(models.Model):
    name = models.CharField(max_length=40, unique=True)
    balance = models.IntegerField(default=0)
    tags = models.ManyToManyField(Tag)

    def __str__(self) -> str:
        return self.name


class Note(models.Model):
    account = models.ForeignKey(Account, on_delete=models.CASCADE)
    text = models.TextField()

    def __str__(self) -> str:
        return self.text


class Item(models.Model):
    """What writers of the fault tests write; the name says who wrote it."""

    name = models.CharField(max_length=80, unique=True)
    value = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name
