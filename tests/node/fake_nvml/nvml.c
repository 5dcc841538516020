/* As much of NVML as the sampler calls. What it answers stands in the text file that FAKE_NVML names, read anew at
 * each call, so that a test can kill and revive the driver under a running process:
 *   one line "init CODE"                        what nvmlInit answers (0 = success)
 *   per GPU "CODE NAME UUID TOTAL USED PERCENT" CODE is what every call for it answers; PERCENT -1 = not supported;
 *                                               it is warmer by a degree and draws 4.5 W more per percent
 * and below a GPU:
 *   "shared"                                    it is in MIG mode
 *   "instance NAME UUID TOTAL USED"             and has this instance
 *   "process PID BYTES", "draws PID BYTES"      of the GPU, or of the instance above; BYTES -1 = not available
 *   "client PID BYTES"                          computes there through an MPS server
 *   "ecc COUNT", "slow BITS"                    uncorrected errors, why its clocks are lowered
 *   "moody CODE"                                what its lists and its thermometer answer
 *   "reset"                                     it is lost until the library is initialised a second time */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { MAX_GPUS = 8, MAX_PROCESSES = 8 };

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilization;
typedef struct { unsigned int pid; unsigned long long bytes; unsigned int instance, compute; } Process;
typedef struct {
    int code, percent, parent, shared;
    char name[64], uuid[64];
    unsigned long long total, used, slow;
    long long ecc;
    Process computing[MAX_PROCESSES], drawing[MAX_PROCESSES], serving[MAX_PROCESSES];
    int computes, draws, serves, moody, reset;
} Gpu;
typedef struct { int init; int count; int instances; Gpu gpus[MAX_GPUS]; Gpu parts[MAX_GPUS]; } Driver;

static int users = 0, inits = 0;
/* GPUs, then instances */
static long handles[2 * MAX_GPUS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static void add(Process *list, int *count, unsigned int pid, long long bytes) {
    if (*count < MAX_PROCESSES) list[(*count)++] = (Process){.pid = pid, .bytes = (unsigned long long)bytes};
}

static Driver driver(void) {
    static Driver now;
    memset(&now, 0, sizeof now);
    now.init = 9; /* driver not loaded */
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return now;
    if (fscanf(file, "init %d\n", &now.init) != 1) now.init = 999;
    char line[256];
    Gpu *last = NULL;
    while (fgets(line, sizeof line, file)) {
        Gpu gpu = {.ecc = -1};
        unsigned int pid;
        long long number;
        if (sscanf(line, "%d %63s %63s %llu %llu %d", &gpu.code, gpu.name, gpu.uuid, &gpu.total, &gpu.used,
                   &gpu.percent) == 6 && now.count < MAX_GPUS) {
            now.gpus[now.count] = gpu;
            last = &now.gpus[now.count++];
        } else if (!last) {
            break;
        } else if (!strncmp(line, "shared", 6)) {
            now.gpus[now.count - 1].shared = 1;
        } else if (sscanf(line, "instance %63s %63s %llu %llu", gpu.name, gpu.uuid, &gpu.total, &gpu.used) == 4
                   && now.instances < MAX_GPUS) {
            gpu.percent = -1;
            gpu.parent = now.count - 1;
            now.parts[now.instances] = gpu;
            last = &now.parts[now.instances++];
        } else if (sscanf(line, "process %u %lld", &pid, &number) == 2) {
            add(last->computing, &last->computes, pid, number);
        } else if (sscanf(line, "draws %u %lld", &pid, &number) == 2) {
            add(last->drawing, &last->draws, pid, number);
        } else if (sscanf(line, "client %u %lld", &pid, &number) == 2) {
            add(last->serving, &last->serves, pid, number);
        } else if (sscanf(line, "moody %lld", &number) == 1) {
            last->moody = (int)number;
        } else if (!strncmp(line, "reset", 5)) {
            last->reset = 1;
        } else if (sscanf(line, "ecc %lld", &number) == 1) {
            last->ecc = number;
        } else if (sscanf(line, "slow %lld", &number) == 1) {
            last->slow = (unsigned long long)number;
        }
    }
    fclose(file);
    return now;
}

static int find(void *handle, Gpu *out) {
    long number = *(long *)handle;
    Driver now = driver();
    if (!users) return UNINITIALIZED;
    if (now.init) return now.init;
    if (number >= MAX_GPUS) {
        if (number - MAX_GPUS >= now.instances) return INVALID_ARGUMENT;
        *out = now.parts[number - MAX_GPUS];
        return out->code;
    }
    if (number >= now.count) return INVALID_ARGUMENT;
    *out = now.gpus[number];
    if (out->reset && inits < 2) return 15;
    return out->code;
}

int nvmlInitWithFlags(unsigned int flags) {
    int code = driver().init;
    (void)flags;
    if (code == SUCCESS) users++, inits++;
    return code;
}

int nvmlShutdown(void) {
    if (!users) return UNINITIALIZED;
    users--;
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    Driver now = driver();
    if (!users) return UNINITIALIZED;
    *count = now.count;
    return now.init;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int number, void **handle) {
    if (!users) return UNINITIALIZED;
    if ((int)number >= driver().count) return INVALID_ARGUMENT;
    *handle = &handles[number];
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *name, unsigned int length) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) snprintf(name, length, "%s", gpu.name);
    return code;
}

int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned int length) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) snprintf(uuid, length, "%s", gpu.uuid);
    return code;
}

int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) *memory = (Memory){.total = gpu.total, .free = gpu.total - gpu.used, .used = gpu.used};
    return code;
}

int nvmlDeviceGetUtilizationRates(void *handle, Utilization *utilization) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS && gpu.percent < 0) return NOT_SUPPORTED;
    if (code == SUCCESS) *utilization = (Utilization){.gpu = gpu.percent, .memory = 0};
    return code;
}

int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned int *celsius) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (sensor != 0) return INVALID_ARGUMENT;
    if (code == SUCCESS && gpu.moody) return gpu.moody;
    if (code == SUCCESS && gpu.percent < 0) return NOT_SUPPORTED;
    if (code == SUCCESS) *celsius = 30 + gpu.percent;
    return code;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned int *milliwatts) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS && gpu.percent < 0) return NOT_SUPPORTED;
    if (code == SUCCESS) *milliwatts = 4500 * gpu.percent;
    return code;
}

int nvmlDeviceGetMigMode(void *handle, unsigned int *current, unsigned int *pending) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS && gpu.percent < 0) return NOT_SUPPORTED;
    if (code == SUCCESS) *current = *pending = gpu.shared;
    return code;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned int *count) {
    Gpu gpu;
    *count = 7;
    return find(handle, &gpu);
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned int place, void **instance) {
    Driver now = driver();
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code != SUCCESS) return code;
    for (int number = 0; number < now.instances; number++)
        if (now.parts[number].parent == *(long *)handle && !place--) {
            *instance = &handles[MAX_GPUS + number];
            return SUCCESS;
        }
    return NOT_FOUND;
}

static int list(const Process *from, int known, unsigned int *room, Process *to) {
    if ((int)*room < known) {
        *room = known;
        return INSUFFICIENT_SIZE;
    }
    memcpy(to, from, known * sizeof *from);
    *room = known;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned int *room, Process *to) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS && gpu.moody) return gpu.moody;
    return code == SUCCESS ? list(gpu.computing, gpu.computes, room, to) : code;
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(void *handle, unsigned int *room, Process *to) {
    Gpu gpu;
    int code = find(handle, &gpu);
    return code == SUCCESS ? list(gpu.serving, gpu.serves, room, to) : code;
}

/* As an older driver, which has no third version. */
int nvmlDeviceGetGraphicsRunningProcesses_v2(void *handle, unsigned int *room, Process *to) {
    Gpu gpu;
    int code = find(handle, &gpu);
    return code == SUCCESS ? list(gpu.drawing, gpu.draws, room, to) : code;
}

int nvmlDeviceGetTotalEccErrors(void *handle, int kind, int since, unsigned long long *count) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (kind != 1 || since != 0) return INVALID_ARGUMENT;
    if (code == SUCCESS && gpu.ecc < 0) return NOT_SUPPORTED;
    if (code == SUCCESS) *count = (unsigned long long)gpu.ecc;
    return code;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *reasons) {
    Gpu gpu;
    int code = find(handle, &gpu);
    if (code == SUCCESS) *reasons = gpu.slow;
    return code;
}

const char *nvmlErrorString(int code) {
    switch (code) {
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    default: return "Unknown Error";
    }
}
