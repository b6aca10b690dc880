/* A program with two static libraries in Rust. */
#include <minidb.h>
#include <stdio.h>

unsigned other_digits(unsigned n);

int main(void)
{
    minidb_t *db;
    int rc = minidb_open(NULL, 0, &db);

    if (rc == MINIDB_OK)
        rc = minidb_put(db, "a", 1, "b", 1, NULL, NULL);
    printf("%d %u %u\n", rc, other_digits(12), other_digits(1001));
    minidb_close(db);
    return 0;
}
