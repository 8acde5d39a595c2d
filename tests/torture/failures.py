"""Thirty ways in which services like this one are known to fail, and what shows that this one does not.

``rows`` are beginnings of the names of checks; ``tests`` are tests of the repository, as pytest names them. A failure
mode is *held* when there is evidence and all of it is; some need hardware that is not everywhere.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from tests.conftest import REPOSITORY
from tests.torture.rows import Row

Verdict = Literal["held", "violated", "partly", "not verifiable without a GPU", "not run"]


@dataclass(frozen=True)
class Failure:
    """One way to fail."""

    number: int
    title: str
    behaviour: str
    rows: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    # Why what is shown is not all there is to show.
    open: str = ""
    needs_gpu: bool = False

    @property
    def name(self) -> str:
        """As reports call it."""
        return f"F{self.number}"


def _service(module: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/service/{module}.py::test_{name}" for name in names)


FAILURES = (
    Failure(
        1,
        "GPU memory grows with varying shapes",
        "one input shape, few batch sizes, all run once at start and bound to a fixed place on the device",
        rows=("soak",),
        tests=_service(
            "inference/test_sessions", "every_batch_size_keeps_its_place_on_the_device", "what_cuda_is_told"
        ),
        open="memory of a device was not watched over many requests",
        needs_gpu=True,
    ),
    Failure(
        2,
        "out of memory on the GPU",
        "a batch is run singly, a picture gets 503, and the known picture tells whether to go on or to end the process",
        tests=(
            *_service("inference/test_faults", "what_is_said_when_memory_is_short"),
            *_service(
                "api/test_faults",
                "memory_that_is_short_for_a_batch_is_enough_for_single_pictures",
                "memory_that_is_short_once_costs_one_picture",
                "a_session_that_never_finds_memory_again_ends_the_process",
            ),
        ),
        open="tried with the words of a device that is full, not with one",
        needs_gpu=True,
    ),
    Failure(
        3,
        "inference blocks the event loop",
        "inference and decoding have threads of their own; /healthz answers meanwhile",
        rows=("overload",),
    ),
    Failure(
        4,
        "uploads wait for a shared pool of threads",
        "nothing on a request's way uses it",
        tests=_service("server/test_overload", "no_upload_waits_for_threads_that_others_hold"),
    ),
    Failure(
        5,
        "bodies larger than memory",
        "413 as soon as the size is known, announced or not; what all uploads hold together is bounded",
        tests=(
            *_service(
                "api/test_refusals",
                "too_many_bytes",
                "too_many_bytes_in_a_form",
                "the_limit_itself_is_allowed_and_one_byte_more_is_not",
                "a_body_without_end_is_refused_at_the_limit",
                "malformed_forms",
            ),
            *_service("server/test_server", "fifty_megabytes_are_refused_without_being_kept"),
        ),
    ),
    Failure(
        6,
        "uploads spooled to a disk that is full",
        "uploads never touch a disk",
        rows=("full disk", "uploads abandoned half-way", "after all attacks"),
        tests=(
            *_service("api/test_refusals", "uploads_never_touch_a_disk"),
            *_service("server/test_connections", "nothing_is_left_of_abandoned_uploads"),
        ),
    ),
    Failure(
        7,
        "slow and silent clients hold every connection",
        "deadlines for heads, bodies and reading; where all connections are taken the longest silent one goes",
        rows=("silent", "slow", "bodies that stop", "answers that are not read", "slowhttptest"),
        tests=_service(
            "server/test_connections", "silent_connections_do_not_lock_others_out", "slow_uploads_take_no_place"
        ),
    ),
    Failure(
        8,
        "headers without end",
        "431 beyond 32 kB of address and headers",
        rows=("headers without end",),
        tests=_service(
            "server/test_strict_http", "too_large_a_head", "a_head_just_below_the_limit", "trailers_without_end"
        ),
    ),
    Failure(
        9,
        "decompression bombs",
        "pixels, passes, memory, tiles, strips, scans, segments and chunks are counted before decoding, which child "
        "processes with limits of CPU time and memory do",
        rows=(
            "bad inputs, more than 40 million",
            "bad inputs, too many parts",
            "bad inputs, tiles",
            "largest pictures",
            "bombs, JPEGs",
            "bombs, more memory",
            "bombs, TIFF tags",
            "8 of the largest pictures at once",
            "costly pictures",
        ),
        tests=(
            *_service("imaging/test_hostile", "the_largest_pictures_take_bounded_memory"),
            *_service(
                "imaging/test_decoder_pool",
                "a_picture_that_takes_too_much_time_costs_its_sender_alone",
                "a_picture_that_needs_too_much_memory_is_refused",
                "costly_pictures_wait_for_each_other_and_return_their_memory",
            ),
        ),
    ),
    Failure(
        10,
        "bombs in metadata, and readers that are not needed",
        "five readers, no others; text, profiles and EXIF are bounded",
        rows=("bad inputs, bombs of text", "bombs, profiles", "bombs, zTXt", "decoder under atheris"),
        tests=_service("imaging/test_hostile", "no_reader_is_there_but_those_of_the_accepted_types"),
    ),
    Failure(
        11,
        "pictures cut off or changed on their way",
        "cut ones are refused; what decodes after a changed bit is answered: transport integrity is TLS's task",
        rows=("bad inputs, cut off", "pictures cut and flipped"),
    ),
    Failure(
        12,
        "modes that decode into other pictures",
        "a rule for each: 16 bits scaled, alpha on white, CMYK converted, animations and unknown ranges refused",
        rows=("bad inputs, grey of unknown range", "bad inputs, animations"),
        tests=(
            *_service(
                "imaging/test_decode",
                "16_bit_grey_is_scaled",
                "16_bit_colour_is_scaled_like_grey",
                "alpha_lies_on_white",
                "grey_with_alpha",
                "a_transparent_colour_becomes_white",
                "palette",
                "grey",
                "black_and_white_is_refused",
                "cmyk",
            ),
            *_service("imaging/test_hostile", "hidden_colours_of_transparent_pixels_stay_hidden"),
        ),
    ),
    Failure(
        13,
        "EXIF, ICC and comments",
        "turned upright once, colours to sRGB; nothing but arrays ever comes back",
        tests=(
            *_service("imaging/test_orientation", "every_orientation_comes_out_upright"),
            *_service("imaging/test_profiles", "a_profile_that_does_not_fit_is_ignored"),
            *_service("imaging/test_hostile", "every_orientation_gets_the_same_answer", "wide_colours_become_srgb"),
            *_service("api/test_attention", "nothing_of_the_uploaded_file_is_in_the_overlay"),
            *_service("api/test_privacy", "a_planted_name_comes_out_nowhere"),
        ),
    ),
    Failure(
        14,
        "files that are two things at once",
        "the picture is read, what hangs on it never comes back; every answer says its type and forbids guessing",
        rows=("bad inputs, pictures all the same", "bad inputs, archives"),
        tests=_service("imaging/test_hostile", "what_is_a_picture_all_the_same"),
    ),
    Failure(
        15,
        "types that are not taken",
        "415 with the list of those that are",
        rows=("bad inputs, text", "bad inputs, other pictures", "bad inputs, documents", "bad inputs, DICOM"),
        tests=_service("imaging/test_hostile", "another_type_is_told_what_is_accepted"),
    ),
    Failure(
        16,
        "paths in ids and file names",
        "ids are 128 random bits in hexadecimal and anything else is unknown; file names are not read",
        rows=("schemathesis", "another client's prediction", "a deleted prediction"),
        tests=_service("api/test_predict", "what_is_no_id_is_not_found"),
    ),
    Failure(
        17,
        "requests that send the service somewhere",
        "nothing a client sends is an address; the stack's networks lead nowhere",
        tests=(
            *_service("api/test_observability", "no_request_names_an_address_to_fetch_from"),
            "tests/compose/test_configuration.py::test_only_the_proxy_is_published_and_on_the_inside_of_no_other_network",
        ),
    ),
    Failure(
        18,
        "metrics with a series for every path, or with names in them",
        "labels take values from closed sets",
        tests=_service("api/test_observability", "every_metric_is_ours_and_no_request_makes_a_new_series"),
    ),
    Failure(
        19,
        "metrics that are open to everyone",
        "they ask for a key where keys are used; the stack's proxy has none, and nothing else is published",
        rows=("without a valid key",),
        tests=(
            "tests/compose/test_configuration.py::test_only_the_proxy_is_published_and_on_the_inside_of_no_other_network",
            "tests/compose/test_configuration.py::test_it_is_on_this_machine_alone_unless_told_otherwise",
        ),
    ),
    Failure(
        20,
        "a model that was tampered with",
        "every file's SHA-256, no links, no unknown files, nothing that is unpickled, values in their ranges, and a "
        "canary whose prediction is known by names",
        tests=(
            *_service(
                "bundle/test_bundle",
                "a_flipped_bit",
                "an_unknown_file",
                "a_link_even_to_the_right_bytes",
                "a_missing_file",
                "no_code_comes_with_the_canary",
            ),
            *_service("bundle/test_canary", "what_no_bundle_can_mean", "what_this_bundle_does_not_mean"),
        ),
    ),
    Failure(
        21,
        "a shutdown that one client holds up",
        "what is under way is answered, what does not end is cut off, within the time that was set",
        rows=("SIGTERM",),
    ),
    Failure(
        22,
        "archives that unpack to more",
        "no archives are taken; several pictures are a form, of bounded number and size",
        rows=("bad inputs, archives",),
        tests=_service("api/test_predict_batch", "what_is_wrong_with_the_request_is_an_error"),
    ),
    Failure(
        23,
        "wrong answers after a device error",
        "a known picture must get its known answer at start, every few minutes, and when an answer is suspicious; "
        "otherwise, and after an error of the device, no answer is given again and the process ends",
        rows=("device that begins to err",),
        tests=(
            *_service(
                "api/test_faults",
                "no_wrong_answer_is_given_and_the_process_ends",
                "trust_lost_while_an_answer_is_kept_or_a_batch_goes_on_withholds_it",
            ),
            *_service(
                "inference/test_faults",
                "what_cuda_says_when_it_fails",
                "a_device_that_is_stuck_at_the_canarys_answer_is_found_out",
            ),
            *_service(
                "server/test_overload",
                "a_canary_that_turns_wrong_stops_all_answers",
                "a_right_canary_takes_no_failure_back",
                "a_canary_that_gets_no_answer_counts_as_wrong",
            ),
            *_service("server/test_server", "a_wrong_canary_ends_the_process"),
            *_service("inference/test_engine", "outputs_that_cannot_be_true_are_refused"),
        ),
    ),
    Failure(
        24,
        "a CPU in the place of the GPU that was asked for",
        "what really runs is compared with what was asked for; without a GPU that is required it does not start",
        tests=_service("inference/test_engine", "a_missing_gpu_is_an_error_only_when_it_is_demanded"),
    ),
    Failure(
        25,
        "NaN in an answer",
        "outputs must be finite and sum to one; who is to blame, the device or the picture, is found out",
        tests=(
            *_service("inference/test_engine", "outputs_that_cannot_be_true_are_refused"),
            *_service(
                "inference/test_faults",
                "outputs_that_are_impossible_once_are_the_devices_fault",
                "outputs_that_one_picture_always_gets_are_its_own_fault",
            ),
        ),
    ),
    Failure(
        26,
        "work for clients that have left",
        "their pictures leave the queue, their slots are released",
        rows=("uploads abandoned half-way", "half-closed", "after all attacks"),
        tests=_service("server/test_overload", "a_picture_whose_client_left_never_runs"),
    ),
    Failure(
        27,
        "a full disk under the records",
        "507; what was kept stays, and stays readable",
        rows=("full disk", "kill -9"),
        tests=(
            *_service("storage/test_sqlite", "a_full_disk_keeps_what_there_is_and_takes_no_more"),
            *_service("audit/test_recording_faults", "a_full_disk_under_a_running_service"),
        ),
    ),
    Failure(
        28,
        "clocks that jump",
        "deadlines run on a clock that cannot; records end a minute late at most",
        tests=_service("storage/test_sqlite", "a_clock_that_is_set_back_keeps_nothing_for_longer"),
    ),
    Failure(
        29,
        "overload",
        "a bounded queue, 429 at once, and the same pictures a second as before",
        rows=("overload",),
        tests=_service("server/test_overload", "more_pictures_than_places_are_refused_at_once_and_places_come_back"),
    ),
    Failure(
        30,
        "several processes on one GPU",
        "one process, also with `WEB_CONCURRENCY` set; replicas scale",
        tests=_service("server/test_server", "one_process_whatever_other_servers_are_told"),
    ),
)


def verdict(failure: Failure, rows: Sequence[Row], tests: Mapping[str, bool | None]) -> Verdict:
    """What the checks and tests say; ``tests`` are outcomes by name, None or absent where they did not run."""
    shown = [row for row in rows if row.name.startswith(failure.rows)] if failure.rows else []
    outcomes = [tests.get(name) for name in failure.tests]
    if any(row.is_violation for row in shown) or False in outcomes:
        return "violated"
    if failure.needs_gpu:
        return "not verifiable without a GPU"
    if None in outcomes or not all(any(row.name.startswith(start) for row in shown) for start in failure.rows):
        return "not run"
    return "held" if all(row.ok for row in shown) else "partly"


def run_tests() -> dict[str, bool | None]:
    """Run every test that is evidence; whether all cases of each passed, of those that were not skipped.

    None where all were skipped: some need Docker.
    """
    names = sorted({name for failure in FAILURES for name in failure.tests})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *names],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=900,
            check=False,
        )
        cases = list(ElementTree.parse(report).iter("testcase"))
    return {name: _passed(name, cases) for name in names}


def _passed(name: str, cases: Sequence[ElementTree.Element]) -> bool | None:
    path, _, function = name.partition("::")
    module = path.removesuffix(".py").replace("/", ".")
    own = [c for c in cases if c.get("classname") == module and (c.get("name") or "").partition("[")[0] == function]
    ran = [case for case in own if case.find("skipped") is None]
    if own and not ran:
        return None
    return bool(ran) and all(case.find("failure") is None and case.find("error") is None for case in ran)


def rows_of(rows: Sequence[Row], tests: Mapping[str, bool | None]) -> Iterator[Row]:
    """One row for each failure mode: 0 where nothing speaks against it."""
    for failure in FAILURES:
        found = verdict(failure, rows, tests)
        yield Row(f"{failure.name}, {failure.title}: {found}", float(found == "violated"), "0", found != "violated")
