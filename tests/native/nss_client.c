/* A program that looks names up, as sshd does: nss_client [-b SIZE] [-d DESCRIPTOR] [-p PORT] [-r ROUNDS] [-t] NAME...
 *
 * The module answers only a program named sshd: make a copy of this one with that name.
 *
 * It prints the entry of each name in the last round, how much the memory has grown since the tenth round, and how many
 * descriptors are open that were not open before.
 *
 * -b: the size of the buffer. -p: connects to this port of the loopback address first, with the number -d, as sshd has
 * the connection of a person. -t: a thread for each name, all at once.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "own_resources.h"

static long rounds = 1;
static size_t size = 1024;

static void connect_to(int port, int descriptor) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    int connection = socket(AF_INET6, SOCK_STREAM, 0);
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) != 0)
        exit(2);
    if (connection != descriptor && (dup2(connection, descriptor) < 0 || close(connection) != 0))
        exit(2);
}

static void *look_up(void *name) {
    struct passwd entry, *found;
    char *buffer = malloc(size);
    long before = 0;
    for (long round = 1; round <= rounds; round++) {
        int error = getpwnam_r(name, &entry, buffer, size, &found);
        if (round == 10)
            before = resident_pages();
        if (round < rounds)
            continue;
        if (found == NULL)
            printf("%s: nobody %d\n", (char *)name, error);
        else
            printf("%s: %s:%s:%u:%u:%s:%s:%s\n", (char *)name, found->pw_name, found->pw_passwd, found->pw_uid,
                   found->pw_gid, found->pw_gecos, found->pw_dir, found->pw_shell);
    }
    if (rounds > 10)
        printf("grown: %ld kB\n", (resident_pages() - before) * (sysconf(_SC_PAGESIZE) / 1024));
    free(buffer);
    return NULL;
}

int main(int count, char **words) {
    int port = 0, descriptor = 3, has_threads = 0, opened = open_descriptors();
    for (int option; (option = getopt(count, words, "b:d:p:r:t")) != -1;)
        if (option == 'b')
            size = (size_t)atol(optarg);
        else if (option == 'd')
            descriptor = atoi(optarg);
        else if (option == 'p')
            port = atoi(optarg);
        else if (option == 'r')
            rounds = atol(optarg);
        else if (option == 't')
            has_threads = 1;
        else
            return 2;
    if (port != 0) {
        connect_to(port, descriptor);
        opened++;
    }
    pthread_t *threads = calloc((size_t)count, sizeof *threads);
    for (int i = optind; i < count; i++)
        if (!has_threads)
            look_up(words[i]);
        else if (pthread_create(&threads[i], NULL, look_up, words[i]) != 0)
            return 2;
    for (int i = optind; has_threads && i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    printf("opened: %d\n", open_descriptors() - opened);
    return 0;
}
