#include <stdio.h>
#include <trocar/trocar.h>

int main(void) {
    trocar_error error = {.size = sizeof error};
    trocar_session *session = NULL;
    printf("%s\n", trocar_version());
    return trocar_session_open("/nowhere", NULL, &session, &error) == TROCAR_ERROR_BUNDLE &&
                   error.code == TROCAR_ERROR_BUNDLE && session == NULL
               ? 0
               : 1;
}
