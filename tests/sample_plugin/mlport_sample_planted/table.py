"""Which test of the suite must fail for which bug, and what it must say."""

from __future__ import annotations

from dataclasses import dataclass

from mlport.capabilities import Capability as C
from mlport_sample_planted import contract, endpoints, jobs, models, reading

ASSERTS = r"^(AssertionError|assert )"
ALLOWS = "DID NOT RAISE"


@dataclass(frozen=True)
class Bug:
    """One bug: the class that has it, the capability it is of, and the test, as `file::test`, that fails by saying `says`.

    `seconds` is what the suite is told a job may take.
    """

    part: type
    capability: C | None
    test: str
    says: str = ASSERTS
    seconds: int = 60


_JOBS = (
    Bug(jobs.SubmitsTwice, C.JOB_RUN, "test_jobs.py::test_the_provider_itself_does_a_token_once"),
    Bug(jobs.FindMisses, C.JOB_RUN, "test_jobs.py::test_the_provider_itself_does_a_token_once", "DeadlineError"),
    Bug(contract.RecallsNothing, C.JOB_RUN, "test_jobs.py::test_a_job_without_a_key_tells_another_client_how_it_was_asked_for", "KeyError"),
    Bug(jobs.SeesOtherAccount, C.JOB_RUN, "test_accounts.py::test_a_job_is_seen_by_its_own_account_only", ALLOWS),
    Bug(jobs.RunsAfterSuccess, C.JOB_RUN, "test_jobs.py::test_success_is_sticky"),
    Bug(jobs.SuccessChanges, C.JOB_CANCEL, "test_jobs.py::test_success_is_sticky"),
    Bug(jobs.FailureExitsWithZero, C.JOB_RUN, "test_jobs.py::test_a_failure_says_why"),
    Bug(jobs.ResultBeforeEnd, C.JOB_RUN, "test_jobs.py::test_a_running_job_has_no_result_and_stays", ALLOWS),
    Bug(jobs.DeletesRunning, C.JOB_RUN, "test_jobs.py::test_a_running_job_has_no_result_and_stays", ALLOWS),
    Bug(jobs.ParametersDropped, C.JOB_RUN, "test_jobs.py::test_a_job_sees_what_it_was_given_and_leaves_what_it_made"),
    Bug(jobs.NaiveTimes, C.JOB_RUN, "test_jobs.py::test_times_are_aware_in_utc_and_in_order"),
    Bug(jobs.LocalClock, C.JOB_RUN, "test_jobs.py::test_times_are_aware_in_utc_and_in_order"),
    Bug(jobs.EndingIsFailed, C.JOB_CANCEL, "test_job_control.py::test_what_is_being_cancelled_has_not_ended"),
    Bug(jobs.CancelOnlySays, C.JOB_CANCEL, "test_job_control.py::test_cancel_ends_the_job_and_all_that_it_started"),
    Bug(jobs.TimeoutIgnored, C.JOB_TIMEOUT, "test_job_control.py::test_a_timeout_ends_the_job_as_failed", "not done after 2 s", 2),
    Bug(jobs.SecretsInLabels, C.JOB_SECRETS, "test_job_control.py::test_a_secret_reaches_the_program_and_nothing_else"),
    Bug(jobs.SecretsInLog, C.JOB_SECRETS, "test_job_control.py::test_a_secret_reaches_the_program_and_nothing_else"),
)
_READING = (
    Bug(reading.PageTokenIgnored, C.JOB_RUN, "test_listing.py::test_small_pages_lose_and_repeat_nothing[1]", "page token .* twice"),
    Bug(reading.PageLosesItem, C.JOB_RUN, "test_listing.py::test_small_pages_lose_and_repeat_nothing[2]"),
    Bug(reading.StateFilterIgnored, C.JOB_RUN, "test_listing.py::test_filters"),
    Bug(reading.LabelFilterIgnored, C.JOB_RUN, "test_listing.py::test_filters"),
    Bug(reading.OldestFirst, C.JOB_RUN, "test_listing.py::test_small_pages_lose_and_repeat_nothing[100]"),
    Bug(reading.ListingKnowsLess, C.JOB_RUN, "test_listing.py::test_a_listing_says_what_a_look_says"),
    Bug(reading.LogOffByOne, C.JOB_LOGS, "test_logs.py::test_every_cursor_goes_on_exactly_where_it_stands"),
    Bug(reading.LogSkipsByte, C.JOB_LOGS, "test_logs.py::test_every_cursor_goes_on_exactly_where_it_stands"),
    Bug(reading.LogLosesLastLine, C.JOB_LOGS, "test_logs.py::test_the_job_gives_the_same_lines[True]"),
    Bug(reading.LogEndsEarly, C.JOB_LOGS, "test_logs.py::test_every_line_once_in_order_while_it_runs"),
)
_MODELS = (
    Bug(models.RegistersTwice, C.MODEL_REGISTER, "test_models.py::test_the_provider_itself_registers_a_token_once"),
    Bug(models.FilesNotCopied, C.MODEL_DOWNLOAD, "test_models.py::test_what_changes_after_registering_changes_no_version", "ConflictError"),
    Bug(models.FirstAliasStays, C.MODEL_ALIAS, "test_models.py::test_an_alias_goes_where_it_was_last_pointed"),
    Bug(models.AliasOfNothing, C.MODEL_ALIAS, "test_models.py::test_an_alias_of_nothing_is_refused", ALLOWS),
    Bug(models.DownloadAlters, C.MODEL_DOWNLOAD, "test_models.py::test_a_download_is_what_was_registered", "ConflictError"),
    Bug(models.DeletedIsListed, C.MODEL_REGISTER, "test_models.py::test_a_deleted_version_is_gone_and_its_number_with_it"),
    Bug(models.NumberUsedAgain, C.MODEL_REGISTER, "test_models.py::test_a_deleted_version_is_gone_and_its_number_with_it"),
    Bug(models.NewestByText, C.MODEL_REGISTER, "test_models.py::test_the_tenth_version_is_newer_than_the_ninth"),
    Bug(models.TagsNotImplemented, C.MODEL_TAGS, "test_models.py::test_tags_are_set_changed_and_removed", "NotImplementedError"),
)
_ENDPOINTS = (
    Bug(endpoints.MixesRows, C.ENDPOINT_SERVE, "test_endpoints.py::test_it_answers_in_the_order_of_the_rows"),
    Bug(endpoints.AnswersFromCache, C.ENDPOINT_SERVE, "test_endpoints.py::test_answers_are_never_mixed_up"),
    Bug(endpoints.AnyPrefixOpens, C.ENDPOINT_KEY, "test_endpoints.py::test_only_the_key_opens_it"),
    Bug(endpoints.CountsDouble, C.ENDPOINT_OBSERVE, "test_counts.py::test_exactly_what_was_sent_is_counted"),
    Bug(endpoints.SplitSumsTo90, C.ENDPOINT_SPLIT, "test_traffic.py::test_the_split_is_what_was_asked_for"),
    Bug(endpoints.EtagIgnored, C.ENDPOINT_SPLIT, "test_traffic.py::test_who_looked_before_another_changed_it_is_told_so", ALLOWS),
    Bug(endpoints.NewDeploymentServes, C.ENDPOINT_IDLE, "test_traffic.py::test_a_new_deployment_gets_nothing_until_it_is_told"),
    Bug(
        endpoints.DeployingAgainConflicts,
        C.ENDPOINT_IDLE,
        "test_traffic.py::test_the_provider_itself_deploys_a_token_once",
        "ConflictError",
    ),
)
_CONTRACT = (
    Bug(contract.PlanTellsTime, None, "test_contract.py::test_the_same_spec_and_facts_give_the_same_plan[job]"),
    Bug(contract.PlanReadsDisk, None, "test_contract.py::test_planning_reads_sends_and_imports_nothing"),
    Bug(contract.PlanTellsSecrets, C.JOB_SECRETS, "test_job_control.py::test_a_secret_reaches_the_program_and_nothing_else"),
    Bug(
        contract.OptionsIgnored,
        None,
        "test_contract.py::test_settings_of_another_provider_are_ignored_and_unknown_ones_refused",
        ALLOWS,
    ),
    Bug(contract.GapWithoutReason, C.JOB_SPOT, "test_contract.py::test_supports_answers_for_every_capability_with_a_reason"),
    Bug(contract.TunerUnsaid, C.SWEEP, "test_contract.py::test_a_tuner_of_its_own_is_a_role_just_where_sweeps_are_native"),
    Bug(contract.SwapsBlindly, None, "test_state.py::test_a_swap_of_what_is_no_longer_so_is_a_conflict", ALLOWS),
    Bug(jobs.SignatureDrifts, C.JOB_RUN, "test_contract.py::test_no_signature_drifts_from_the_interface[jobs]"),
    Bug(
        jobs.AbsentLeaksOsError,
        C.JOB_RUN,
        "test_contract.py::test_what_is_not_there_is_our_error_with_provider_and_operation[jobs.status]",
        "FileNotFoundError",
    ),
    Bug(
        models.AliasLeaksKeyError,
        C.MODEL_ALIAS,
        "test_contract.py::test_what_is_not_there_is_our_error_with_provider_and_operation[models.resolve]",
        "KeyError",
    ),
    Bug(
        models.ApprovesSilently,
        C.MODEL_APPROVAL,
        "test_contract.py::test_a_verb_that_is_declared_absent_refuses_of_itself[model.approval]",
        ALLOWS,
    ),
)
BUGS = {bug.part.__name__: bug for bug in (*_JOBS, *_READING, *_MODELS, *_ENDPOINTS, *_CONTRACT)}
