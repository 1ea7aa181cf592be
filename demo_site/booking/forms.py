"""Forms of the booking site."""

from __future__ import annotations

from typing import Any

from django import forms

from demo_site.booking.models import Pair
from demo_site.booking.seats import SEATS_PER_BOOKING_MAX


class SeatsForm(forms.Form):
    """Either seats picked on the plan, or a number of any seats."""

    how = forms.ChoiceField(choices=[("picked", "picked"), ("any", "any")])
    seat = forms.TypedMultipleChoiceField(coerce=int, required=False)
    count = forms.IntegerField(min_value=1, max_value=SEATS_PER_BOOKING_MAX, required=False)

    def __init__(self, *args: Any, seats: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["seat"]
        assert isinstance(field, forms.TypedMultipleChoiceField)
        field.choices = [(seat, str(seat)) for seat in range(1, seats + 1)]

    def clean(self) -> dict[str, Any]:
        """What the chosen way needs is there, and not too much of it."""
        cleaned = super().clean() or {}
        chosen = cleaned.get("seat") or []
        if self.errors:
            return cleaned
        if cleaned["how"] == "any":
            if not cleaned.get("count"):
                raise forms.ValidationError("Choose how many seats.")
        elif not chosen:
            raise forms.ValidationError("Pick a seat on the plan.")
        elif len(chosen) > SEATS_PER_BOOKING_MAX:
            raise forms.ValidationError(f"At most {SEATS_PER_BOOKING_MAX} seats at a time.")
        return cleaned

    def problem(self) -> str:
        """The first thing that is wrong, in words."""
        return next((str(text) for errors in self.errors.values() for text in errors), "")


class PairForm(forms.ModelForm):  # type: ignore[type-arg]
    """A key and its value, typed by hand."""

    class Meta:
        model = Pair
        fields = ("key", "value")
        widgets = {"value": forms.TextInput}

    def validate_unique(self) -> None:
        """A key that is there already is given the new value."""
