/*
 * test_record.c - the record: every key, unknown as null, exit codes, and what people are shown.
 */
#include "plan_fixture.h"

#include <errno.h>
#include <signal.h>

#include "record/record.h"

static const struct jb_origin origin = {.kind = "cli",
                                        .submitted_us = UINT64_C(1700000000000000),
                                        .setup_started_us = UINT64_C(1700000000260000),
                                        .wait_ns = UINT64_C(250000000)};

static json_t *draft(struct fixture *f, struct jb_plan **ret_plan)
{
    struct jb_error err = {0};
    json_t *record = NULL;
    struct jb_plan *plan = fixture_plan(f);
    assert_ok(jb_record_draft(plan, &origin, &record, &err), &err);
    if (ret_plan)
        *ret_plan = plan;
    else
        jb_plan_free(plan);
    return record;
}

static struct jb_outcome nothing_known(enum jb_end_reason reason)
{
    return (struct jb_outcome){.reason = reason,
                               .exit_code = -1,
                               .started_us = JB_UNSET,
                               .ended_us = JB_UNSET,
                               .destroyed_us = JB_UNSET,
                               .setup_ns = JB_UNSET,
                               .wall_ns = JB_UNSET,
                               .teardown_ns = JB_UNSET,
                               .scratch_used = JB_UNSET,
                               .scratch_peak = JB_UNSET,
                               .net_received = JB_UNSET,
                               .net_sent = JB_UNSET};
}

static json_t *at(json_t *object, const char *path)
{
    jb_autofree char *copy = strdup(path);
    char *rest = NULL;
    for (char *key = strtok_r(copy, ".", &rest); key; key = strtok_r(NULL, ".", &rest)) {
        object = json_object_get(object, key);
        if (!object)
            fail_msg("no %s in the record", path);
    }
    return object;
}

/* Every key that the record's format promises. */
static const char *const all_keys[] = {"record_version",
                                       "id",
                                       "job",
                                       "attempt",
                                       "array_index",
                                       "name",
                                       "user",
                                       "uid",
                                       "gid",
                                       "account",
                                       "labels",
                                       "host",
                                       "boot_id",
                                       "submit_host",
                                       "jobbox_version",
                                       "spec_sha256",
                                       "image.ref",
                                       "image.digest",
                                       "origin.kind",
                                       "times.submitted",
                                       "times.eligible",
                                       "times.setup_started",
                                       "times.started",
                                       "times.ended",
                                       "times.destroyed",
                                       "times.wait_s",
                                       "times.setup_s",
                                       "times.wall_s",
                                       "times.teardown_s",
                                       "requested",
                                       "granted.cpus",
                                       "granted.cores",
                                       "granted.l3s",
                                       "granted.numa_nodes",
                                       "granted.memory_nodes",
                                       "granted.kind",
                                       "granted.straddles.l3",
                                       "granted.straddles.numa",
                                       "granted.straddles.package",
                                       "used.cpu_user_s",
                                       "used.cpu_system_s",
                                       "used.cpu_per_cpu_s",
                                       "used.throttled_s",
                                       "used.memory_peak_bytes",
                                       "used.memory_peak_anon_bytes",
                                       "used.swap_peak_bytes",
                                       "used.oom_kills",
                                       "used.pids_peak",
                                       "used.read_bytes",
                                       "used.written_bytes",
                                       "used.read_ops",
                                       "used.write_ops",
                                       "used.scratch_peak_bytes",
                                       "used.minor_faults",
                                       "used.major_faults",
                                       "used.voluntary_switches",
                                       "used.involuntary_switches",
                                       "used.pressure",
                                       "used.energy_j",
                                       "used.net",
                                       "end.reason",
                                       "end.exit_code",
                                       "end.signal",
                                       "end.core_dumped",
                                       "end.limit",
                                       "end.killed_by",
                                       "isolation.namespaces",
                                       "isolation.root",
                                       "isolation.network",
                                       "isolation.seccomp",
                                       "isolation.caps",
                                       "isolation.no_new_privs",
                                       "isolation.cgroup_version.memory",
                                       "isolation.degraded",
                                       "output.truncated",
                                       "artifacts",
                                       "kept",
                                       "entered",
                                       "warnings"};

static void every_key_is_there(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_plan *plan = NULL;
    struct jb_isolation isolation = {
        .mount = true, .pid = true, .net = true, .seccomp_mode = 2, .seccomp_filters = 1};
    struct jb_cg_readback readback = {.memory_max = JB_UNSET, .version = {[JB_CTL_MEMORY] = 1}};
    struct jb_outcome outcome = nothing_known(JB_END_COMPLETED);
    outcome.exit_code = 0;
    json_t *record = draft(f, &plan);
    assert_ok(jb_record_isolation(record, plan, &isolation, &readback, &err), &err);
    assert_ok(jb_record_finish(record, &outcome, NULL, &err), &err);
    assert_int_equal(jb_record_destroyed(record, UINT64_C(1700000005000000), 5000000), 0);
    for (size_t i = 0; i < JB_ARRAY_LEN(all_keys); i++)
        assert_non_null(at(record, all_keys[i]));
    assert_string_equal(json_string_value(at(record, "id")), FIXTURE_ID);
    assert_string_equal(json_string_value(at(record, "user")), "ann");
    assert_string_equal(json_string_value(at(record, "host")), "node7");
    assert_string_equal(json_string_value(at(record, "granted.cpus")), "2-3,6-7");
    assert_string_equal(json_string_value(at(record, "times.submitted")), "2023-11-14T22:13:20.000000Z");
    assert_string_equal(json_string_value(at(record, "times.destroyed")), "2023-11-14T22:13:25.000000Z");
    assert_float_equal(json_real_value(at(record, "times.wait_s")), 0.25, 1e-9);
    assert_float_equal(json_real_value(at(record, "times.teardown_s")), 0.005, 1e-9);
    assert_int_equal(json_integer_value(at(record, "isolation.cgroup_version.memory")), 1);
    assert_true(json_is_null(at(record, "isolation.cgroup_version.pids")));
    assert_string_equal(json_string_value(at(record, "isolation.network")), "none");
    json_decref(record);
    jb_plan_free(plan);
}

static void unknown_is_null(void **state)
{
    static const char *const nulls[] = {"array_index",
                                        "account",
                                        "image.digest",
                                        "times.started",
                                        "times.ended",
                                        "times.destroyed",
                                        "times.setup_s",
                                        "times.wall_s",
                                        "used.cpu_user_s",
                                        "used.cpu_system_s",
                                        "used.cpu_per_cpu_s",
                                        "used.throttled_s",
                                        "used.memory_peak_bytes",
                                        "used.oom_kills",
                                        "used.pids_peak",
                                        "used.read_bytes",
                                        "used.scratch_peak_bytes",
                                        "used.scratch_end_bytes",
                                        "used.minor_faults",
                                        "used.energy_j",
                                        "used.net",
                                        "end.exit_code",
                                        "end.signal",
                                        "end.limit",
                                        "end.killed_by",
                                        "granted.memory_bytes",
                                        "granted.kind"};
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_outcome outcome = nothing_known(JB_END_SUPERVISOR_LOST);
    json_t *record = draft(f, NULL);
    assert_ok(jb_record_finish(record, &outcome, NULL, &err), &err);
    for (size_t i = 0; i < JB_ARRAY_LEN(nulls); i++)
        if (!json_is_null(at(record, nulls[i])))
            fail_msg("%s is not null", nulls[i]);
    assert_true(json_is_null(at(record, "isolation"))); /* never read back */
    assert_null(jb_record_get(record, "end", "exit_code"));
    assert_null(jb_record_get(record, "end", "no such key"));
    json_decref(record);
}

static void figures_come_from_the_cgroup_first(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    uint64_t per_cpu[] = {0, 0, 1500000000, 0};
    struct jb_cg_usage usage;
    memset(&usage, 0xff, sizeof(usage)); /* everything JB_UNSET */
    usage.cpu_user_us = 3000000;
    usage.cpu_system_us = JB_UNSET;
    usage.cpu_per_cpu_ns = per_cpu;
    usage.n_per_cpu = 4;
    usage.memory_peak = 12345;
    usage.oom_kills = 0;
    usage.read_bytes = 4096;
    struct jb_outcome outcome = nothing_known(JB_END_FAILED);
    outcome.exit_code = 3;
    outcome.has_rusage = true;
    outcome.rusage = (struct jb_msg){
        .user_us = 1, .system_us = 250000, .minor_faults = 9, .read_blocks = 1, .written_blocks = 16};
    outcome.wall_ns = 1234567890;
    outcome.scratch_used = 77;
    outcome.scratch_peak = 99;
    json_t *record = draft(f, NULL);
    assert_ok(jb_record_finish(record, &outcome, &usage, &err), &err);
    assert_float_equal(json_real_value(at(record, "used.cpu_user_s")), 3, 1e-9);
    assert_float_equal(json_real_value(at(record, "used.cpu_system_s")), 0.25, 1e-9); /* the next best */
    assert_int_equal(json_object_size(at(record, "used.cpu_per_cpu_s")), 1);
    assert_float_equal(json_real_value(at(record, "used.cpu_per_cpu_s.2")), 1.5, 1e-9);
    assert_int_equal(json_integer_value(at(record, "used.memory_peak_bytes")), 12345);
    assert_true(json_is_integer(at(record, "used.oom_kills"))); /* a known 0 is 0 */
    assert_true(json_is_null(at(record, "used.pids_peak")));
    assert_int_equal(json_integer_value(at(record, "used.minor_faults")), 9);
    assert_int_equal(json_integer_value(at(record, "used.scratch_end_bytes")), 77);
    assert_float_equal(json_real_value(at(record, "times.wall_s")), 1.234567, 1e-6);
    assert_int_equal(json_integer_value(at(record, "used.read_bytes")), 4096);
    assert_int_equal(json_integer_value(at(record, "used.written_bytes")), 8192); /* the next best */
    assert_int_equal(json_array_size(at(record, "warnings")), 0);
    json_decref(record);
}

/* Something that was waited for and that the groups have not counted ran outside of them. */
static void readings_that_disagree_are_told(void **state)
{
    static const struct {
        uint64_t groups, reaped;
        size_t warnings;
    } cases[] = {
        {1000000, 1000000, 0}, {1000000, 20000, 0}, /* nobody waited for the rest */
        {1000000, 1004000, 0},                      /* within what two readings may differ */
        {1000000, 1019000, 0}, {1000000, 1030000, 1}, {0, 6000, 1}, {JB_UNSET, 1000000, 0},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_error err = {0};
        struct jb_cg_usage usage;
        memset(&usage, 0xff, sizeof(usage));
        usage.cpu_per_cpu_ns = NULL;
        usage.n_per_cpu = 0;
        usage.cpu_total_us = cases[i].groups;
        struct jb_outcome outcome = nothing_known(JB_END_COMPLETED);
        outcome.has_rusage = true;
        outcome.rusage = (struct jb_msg){.user_us = cases[i].reaped - 1000, .system_us = 1000};
        json_t *record = draft(f, NULL);
        assert_ok(jb_record_finish(record, &outcome, &usage, &err), &err);
        assert_int_equal(json_array_size(at(record, "warnings")), cases[i].warnings);
        if (cases[i].warnings)
            assert_contains(json_string_value(json_array_get(at(record, "warnings"), 0)), "CPU time: ");
        json_decref(record);
    }
}

static void exit_codes(void **state)
{
    static const struct {
        enum jb_end_reason reason;
        int exit_code, signal, want;
    } cases[] = {
        {JB_END_COMPLETED, 0, 0, 0},
        {JB_END_FAILED, 3, 0, 3},
        {JB_END_FAILED, 126, 0, 126},
        {JB_END_FAILED, 127, 0, 127},
        {JB_END_SIGNALED, -1, SIGSEGV, 128 + SIGSEGV},
        {JB_END_SIGNALED, -1, SIGKILL, 137},
        {JB_END_TIMEOUT, -1, SIGTERM, 120},
        {JB_END_TIMEOUT, 0, 0, 120}, /* a job that ends well when it is told to was still too slow */
        {JB_END_OOM, -1, SIGKILL, 121},
        {JB_END_CPU_TIMEOUT, -1, SIGTERM, 122},
        {JB_END_IDLE_TIMEOUT, -1, SIGTERM, 122},
        {JB_END_OUTPUT_LIMIT, -1, SIGKILL, 122},
        {JB_END_SCRATCH_FULL, 1, 0, 122},
        {JB_END_CANCELLED, -1, SIGTERM, 123},
        {JB_END_BOX_ERROR, -1, 0, 124},
        {JB_END_SUPERVISOR_LOST, -1, 0, 124},
        {JB_END_HOST_RESTARTED, -1, 0, 124},
    };
    struct fixture *f = *state;
    struct jb_error err = {0};
    bool seen[JB_END_MAX] = {false};
    for (size_t i = 0; i < JB_ARRAY_LEN(cases); i++) {
        struct jb_outcome outcome = nothing_known(cases[i].reason);
        outcome.exit_code = cases[i].exit_code;
        outcome.signal = cases[i].signal;
        json_t *record = draft(f, NULL);
        assert_ok(jb_record_finish(record, &outcome, NULL, &err), &err);
        assert_int_equal(jb_record_exit_code(record), cases[i].want);
        assert_string_equal(json_string_value(at(record, "end.reason")), jb_end_reason_name(cases[i].reason));
        json_decref(record);
        seen[cases[i].reason] = true;
    }
    for (size_t i = 0; i < JB_END_MAX; i++)
        assert_true(seen[i]);
    assert_null(jb_end_reason_name(JB_END_MAX));
}

static void degraded_is_told_with_who_allowed_it(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_plan *plan = NULL;
    fixture_lacks(f, JB_CTL_CPUSET, "cpuset is not mounted");
    f->site->allow_degraded[JB_DEGRADE_CPUSET] = true;
    json_t *record = draft(f, &plan);
    assert_ok(jb_record_isolation(record, plan, NULL, NULL, &err), &err);
    json_t *list = at(record, "isolation.degraded");
    assert_int_equal(json_array_size(list), 1);
    json_t *one = json_array_get(list, 0);
    assert_string_equal(json_string_value(at(one, "what")), "cpuset");
    assert_string_equal(json_string_value(at(one, "why")), "cpuset is not mounted");
    assert_string_equal(json_string_value(at(one, "allowed_by")), "site");
    assert_string_equal(json_string_value(at(record, "isolation.cpu_pin")), "affinity");
    json_decref(record);
    jb_plan_free(plan);
}

static void one_line_of_json(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    jb_autofree char *line = NULL;
    size_t len = 0;
    free(f->who.user);
    f->who.user = strdup("two\nlines");
    json_t *record = draft(f, NULL);
    assert_ok(jb_record_line(record, &line, &len, &err), &err);
    assert_int_equal(strlen(line), len);
    assert_ptr_equal(strchr(line, '\n'), line + len - 1);
    json_error_t bad;
    json_t *back = json_loadb(line, len, JSON_REJECT_DUPLICATES, &bad);
    assert_true(json_equal(back, record));
    json_decref(back);
    json_decref(record);
}

static void expect_summary(const json_t *record, const char *want)
{
    struct jb_error err = {0};
    jb_autofree char *text = NULL;
    assert_ok(jb_record_summary(record, &text, &err), &err);
    assert_string_equal(text, want);
}

static void summaries(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_plan *plan = NULL;
    fixture_spec(f, SPEC "resources: { memory: 64MiB }\n");
    fixture_lacks(f, JB_CTL_CPUSET, "cpuset is not mounted");
    f->site->allow_degraded[JB_DEGRADE_CPUSET] = true;
    json_t *record = draft(f, &plan);
    struct jb_outcome outcome = nothing_known(JB_END_OOM);
    struct jb_cg_usage usage;
    memset(&usage, 0xff, sizeof(usage));
    usage.cpu_per_cpu_ns = NULL;
    usage.cpu_user_us = 3000000;
    usage.cpu_system_us = 1000000;
    usage.memory_peak = 64 << 20;
    outcome.signal = SIGKILL;
    outcome.limit = (char *)"memory 64.0 MiB";
    outcome.killed_by = (char *)"kernel";
    outcome.wall_ns = 2 * JB_NS_PER_S;
    outcome.artifacts = json_pack("[{s:s, s:s}, {s:s, s:s}]", "path", "/w/a", "to", "/out/a", "path", "/w/b",
                                  "error", "no such file");
    assert_ok(jb_record_isolation(record, plan, NULL, NULL, &err), &err);
    assert_ok(jb_record_finish(record, &outcome, &usage, &err), &err);
    expect_summary(record, "jobbox: job: oom (memory 64.0 MiB), signal 9\n"
                           "jobbox: wall 2.00s, CPU 4.00s (50% of 4 CPUs), peak memory 64.0 MiB of 64.0 MiB, "
                           "CPUs 2-3,6-7\n"
                           "jobbox: without cpuset: cpuset is not mounted\n"
                           "jobbox: artifact /out/a\n"
                           "jobbox: artifact /w/b: no such file\n"
                           "jobbox: record " FIXTURE_ID "\n");
    json_decref(outcome.artifacts);
    json_decref(record);
    jb_plan_free(plan);
}

static void summaries_of_what_never_ran(void **state)
{
    struct fixture *f = *state;
    struct jb_error err = {0};
    struct jb_outcome outcome = nothing_known(JB_END_BOX_ERROR);
    json_t *record = draft(f, NULL);
    outcome.error = "mounting proc: Operation not permitted";
    assert_ok(jb_record_finish(record, &outcome, NULL, &err), &err);
    expect_summary(record, "jobbox: job: box_error (mounting proc: Operation not permitted)\n"
                           "jobbox: record " FIXTURE_ID "\n");
    json_decref(record);
    record = draft(f, NULL);
    outcome = nothing_known(JB_END_FAILED);
    outcome.exit_code = 3;
    outcome.wall_ns = 1500 * JB_NS_PER_MS;
    assert_ok(jb_record_finish(record, &outcome, NULL, &err), &err);
    expect_summary(record, "jobbox: job: failed, exit code 3\n"
                           "jobbox: wall 1.50s, CPU unknown, peak memory unknown, CPUs 2-3,6-7\n"
                           "jobbox: record " FIXTURE_ID "\n");
    json_decref(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        as_user(every_key_is_there),
        as_user(unknown_is_null),
        as_user(figures_come_from_the_cgroup_first),
        as_user(readings_that_disagree_are_told),
        as_user(exit_codes),
        as_user(degraded_is_told_with_who_allowed_it),
        as_user(one_line_of_json),
        as_user(summaries),
        as_user(summaries_of_what_never_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
