"""What the workloads write.  Primary keys that are given by hand belong to one client or one moment."""

from __future__ import annotations

from django.db import models


class Base(models.Model):
    """The runner imports the models without having the application installed."""

    class Meta:
        abstract = True
        app_label = "workloads"


class Register(Base):
    id = models.IntegerField(primary_key=True)
    value = models.IntegerField(null=True)
    touched = models.IntegerField(default=0)


class BankAccount(Base):
    id = models.IntegerField(primary_key=True)
    balance = models.IntegerField()


class Numbers(Base):
    """A list: numbers with a space before each."""

    id = models.IntegerField(primary_key=True)
    text = models.TextField(default="")

    def elements(self) -> list[int]:
        return [int(word) for word in self.text.split()]


class Place(Base):
    """An element of a list, by its position from 0; nothing keeps two from having the same."""

    list = models.IntegerField(db_index=True)
    position = models.IntegerField()
    element = models.IntegerField()


class Element(Base):
    """Nothing keeps an element from being there twice."""

    value = models.IntegerField()


class Claim(Base):
    name = models.CharField(max_length=40, unique=True)
    owner = models.CharField(max_length=40)


class Parent(Base):
    id = models.IntegerField(primary_key=True)


class Child(Base):
    parent = models.ForeignKey(Parent, on_delete=models.CASCADE)
    token = models.IntegerField(unique=True)


class Doctor(Base):
    """Two belong to each shift, and one of them has to stay."""

    id = models.IntegerField(primary_key=True)
    shift = models.IntegerField(db_index=True)
    on_call = models.BooleanField(default=True)


class Counter(Base):
    id = models.IntegerField(primary_key=True)
    value = models.IntegerField(default=0)


class Page(Base):
    """What one user sees."""

    user = models.CharField(max_length=40, primary_key=True)
    value = models.IntegerField()
