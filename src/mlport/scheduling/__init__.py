"""Schedules, in rooms: when they fire (`cron`), what is stored (`stored`), what to do now (`deciding`), and doing it (`firing`)."""
