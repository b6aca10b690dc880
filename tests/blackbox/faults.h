/* Making file calls fail; see faults.c. */
#ifndef FAULTS_H
#define FAULTS_H

enum fault_mode {
    ONCE,
    FOR_EVER,
    /* Every other call, so that trying again helps. */
    EVERY_OTHER,
    /* The call reads or writes a part; after it, all that take space fail. */
    SHORT
};

/*
 * From the call numbered `at` on, calls fail with `error` (0: none does) as the
 * mode says. The counting begins anew, and is off.
 */
void faults_plan(long at, int error, enum fault_mode mode);

/* Calls count, and fail, only between these. */
void faults_on(void);
void faults_off(void);

/* Makes all files seem to lie on another machine, or not. */
void faults_remote(int on);

/*
 * Holds all syncs of files until each is released, with an error (0: none); by
 * one thread, which waits for one before it releases one.
 */
void faults_hold_syncs(int on);
void faults_wait_for_sync(void);
void faults_release_sync(int error);

/* How many calls were counted. */
long faults_calls(void);

/* Which call was the first to fail or to stop half-way; NULL if none was. */
const char *faults_hit(void);

#endif /* FAULTS_H */
