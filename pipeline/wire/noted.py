"""What of the input became no evidence, or was mended before it did: one word each, counted per fleet. Pure."""

from enum import StrEnum


class Noted(StrEnum):
    """Closed set of words; the comment says what each counts. One word serves in /state, as metric label and in the
    summary of a backtest."""

    # A part of an event that could not be used as it came: without it, or as what it plainly means, the event counts.
    BYTE_ORDER_MARK = "byte_order_mark"  # events that begin with one
    NULL_TEXT = "null_text"  # null where a text may be "": region, site, code, module
    PLACE_UNUSABLE = "place_unusable"  # region or site of another type, or too long: as if not there
    SIGNATURE_CUT = "signature_cut"  # code or module of more than 128 characters: a path's last part, a code's first
    TIME_FORM = "time_form"  # moments that are plain in another form: seconds, micro-, nanoseconds, ISO 8601, 1.7e12
    PRIOR_ENDED_AT_UNUSABLE = "prior_ended_at_unusable"  # before 2020, after 2100, no time at all: as if not there
    INSTALLED_AT_UNUSABLE = "installed_at_unusable"  # the same: to no version of it exposed, nor control
    UPDATES_UNUSABLE = "updates_unusable"  # updates without name or version: as if not listed
    UPDATES_CUT = "updates_cut"  # updates beyond 64 on one host
    REMOVED_AT_UNUSABLE = "removed_at_unusable"  # the same: removed, and nobody knows when
    HOST_RESPELLED = "host_respelled"  # reports of a host in capitals, with a domain …: as of its one name

    # Updates listed by trials and crashes that count, once for each that lists one.
    EXPOSURES_EXCLUDED = "exposures_excluded"  # superseded, past the window, or of an undated crash
    EXPOSURES_NOT_YET = "exposures_not_yet"  # installed only after the moment of the trial or the crash
    UPDATES_REMOVED = "updates_removed"  # listed, and taken off again before that moment: neither exposed nor control
    EXPOSURES_UNWATCHED = "exposures_unwatched"  # of updates for which the detector had no place

    # Crashes.
    CRASHES_UNDATED = "crashes_undated"  # told by a boot, at an unknown moment: about no update
    CRASHES_LATE = "crashes_late"  # reported more than a day after: no evidence
    CRASHES_CUT = "crashes_cut"  # beyond 5,000 in a partial: counted, not used
    CRASHES_REPEATED = "crashes_repeated"  # of a host that counts already in these 24 hours
    CRASHES_VERSION_UNKNOWN = "crashes_version_unknown"  # a product was changed before they were reported
    CRASHES_CAPPED = "crashes_capped"  # of a site and minute that count already three
